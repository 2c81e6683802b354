// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {INodes} from "../../src/interfaces/INodes.sol";
import {Offence, Tier} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";
import {Vm} from "../Vm.sol";

/// Attacks by those who hold, split, move or understate their bond.
contract BondAttacks is Ledger {
    function setUp() external {
        deployLedger(defaultValues());
    }

    /// One bond in three names is drawn as often as in one.
    function testAttackSybilSeats() external {
        populate(4, 0);
        vm.prank(people[0].addr);
        nodes.takeSeat(300 * MAG);
        for (uint256 i = 1; i < 4; ++i) {
            vm.prank(people[i].addr);
            nodes.takeSeat(100 * MAG);
        }
        uint256 whole;
        for (uint256 i; i < 4_000; ++i) {
            if (nodes.drawNotary(keccak256(abi.encode("draw", i))) == people[0].addr) ++whole;
        }
        // Mean 2,000, standard deviation 32: five of them.
        check(whole > 1_840 && whole < 2_160, "half of the bond, half of the draws");
    }

    /// An identity needs its own key and its own bond.
    function testAttackSybilIdentities() external {
        populate(2, 0);
        Vm.Wallet memory sybil = actor("sybil");
        fund(sybil.addr, 1_000 * MAG);
        Vm.Wallet memory known = people[0];
        vm.prank(sybil.addr);
        expectError(INodes.KeyNotOfCaller.selector);
        nodes.register(bytes32(known.publicKeyX), bytes32(known.publicKeyY), Tier.CpuOnly, 30 * MAG);
        vm.prank(sybil.addr);
        expectError(INodes.BondTooSmall.selector);
        nodes.register(bytes32(sybil.publicKeyX), bytes32(sybil.publicKeyY), Tier.CpuOnly, 30 * MAG - 1);
        join(sybil, Tier.CpuOnly, 30 * MAG);
        vm.prank(sybil.addr);
        expectError(INodes.AlreadyRegistered.selector);
        nodes.register(bytes32(sybil.publicKeyX), bytes32(sybil.publicKeyY), Tier.CpuOnly, 30 * MAG);
        bytes memory compressed = abi.encodePacked(uint8(2 + sybil.publicKeyY % 2), sybil.publicKeyX);
        eq(nodes.addressOf(sha256(compressed)), sybil.addr, "found by its node id");
    }

    /// What is on its way out is slashed like what stayed; a dispute holds it back.
    function testAttackSlashEvasion() external {
        populate(6, 5);
        address cheat = people[5].addr;
        vm.prank(cheat);
        nodes.addBond(70 * MAG);
        vm.prank(cheat);
        nodes.unbond(100 * MAG);
        check(!nodes.isActive(cheat), "no node without a bond");
        uint64 release = nodes.nodeOf(cheat).releaseTime;
        eq(release, vm.getBlockTimestamp() + 3_600, "the whole unbonding time");
        uint256 id = challengeAs(people[0].addr, Offence.FalseTier, cheat, bytes32(uint256(0)));
        vm.warp(release);
        vm.prank(cheat);
        expectError(INodes.UnderDispute.selector);
        nodes.withdraw();
        judge(id, true);
        eq(nodes.nodeOf(cheat).unbonding, 70 * MAG, "30% of what was leaving");
        vm.prank(cheat);
        nodes.withdraw();
        eq(token.balanceOf(cheat), PURSE - 30 * MAG, "the rest is free");
    }

    /// The bond cannot leave in time to escape an offence of the running epoch.
    function testAttackUnbondBeforeJudgement() external {
        populate(6, 5);
        toCommit(0);
        commitAs(0, 0, "result", 1, "nonce");
        address cheat = people[0].addr;
        vm.startPrank(cheat);
        nodes.leaveSeat();
        nodes.unbond(30 * MAG);
        vm.stopPrank();
        toSettle(0);
        vm.prank(cheat);
        expectError(INodes.StillUnbonding.selector);
        nodes.withdraw();
        disputes.punishNoReveal(0, cheat);
        eq(nodes.nodeOf(cheat).unbonding, 117 * MAG, "10% of 130");
    }

    /// A higher tier needs its bond; a tier that is not met costs 30%.
    function testAttackTierLie() external {
        populate(6, 5);
        address liar = people[5].addr;
        vm.prank(liar);
        expectError(INodes.BondTooSmall.selector);
        nodes.changeTier(Tier.ClaudeSession);
        vm.startPrank(liar);
        nodes.addBond(270 * MAG);
        nodes.changeTier(Tier.ClaudeSession);
        expectError(INodes.BondTooSmall.selector);
        nodes.unbond(1);
        vm.stopPrank();
        uint256 before = token.balanceOf(people[0].addr);
        judge(challengeAs(people[0].addr, Offence.FalseTier, liar, bytes32(uint256(0))), true);
        eq(nodes.nodeOf(liar).bond, 210 * MAG, "slashed 30%");
        eq(token.balanceOf(people[0].addr) - before, 45 * MAG, "half to the challenger");
        vm.warp(endOf(0));
        check(!nodes.isActive(liar), "below the tier's bond it takes no part");
    }

    /// Who was slashed for everything does not come back under the key.
    function testAttackReturnOfTheBanned() external {
        populate(10, 9);
        settle(0, "bad", 1);
        address accused = epochs.settlementOf(0).proposer;
        address challenger = people[9].addr;
        judge(challengeAs(challenger, Offence.BadRoot, accused, bytes32(uint256(0))), true);
        check(nodes.nodeOf(accused).banned && !nodes.isNotary(accused), "out");
        vm.startPrank(accused);
        expectError(INodes.Banned.selector);
        nodes.addBond(100 * MAG);
        expectError(INodes.Banned.selector);
        nodes.takeSeat(100 * MAG);
        vm.stopPrank();
        Vm.Wallet memory who;
        for (uint256 i; i < people.length; ++i) if (people[i].addr == accused) who = people[i];
        vm.prank(accused);
        vm.expectRevert();
        nodes.register(bytes32(who.publicKeyX), bytes32(who.publicKeyY), Tier.CpuOnly, 100 * MAG);
    }
}
