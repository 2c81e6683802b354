// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {Offence, Tier, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";
import {Vm} from "../Vm.sol";

/// Attacks on panels, on the ledger's resources, and with governed values.
contract PanelAttacks is Ledger {
    bytes32 internal constant SUBJECT = bytes32(uint256(0));

    function setUp() external {
        deployLedger(defaultValues());
    }

    /// Neither the accused nor the challenger sits on the panel, whatever the draw.
    function testAttackOwnCase() external {
        populate(7, 6);
        for (uint256 i; i < 12; ++i) {
            uint256 state = vm.snapshotState();
            address accused = people[i % 3].addr;
            address challenger = people[3 + i % 3].addr;
            uint256 id = challengeAs(challenger, Offence.FalseTier, accused, SUBJECT);
            uint256 drawBlock = disputes.disputeOf(id).drawBlock;
            vm.roll(drawBlock + 1);
            vm.setBlockhash(drawBlock, keccak256(abi.encode("hash", i)));
            address[] memory panel = draw(id);
            eq(panel.length, 4, "3f + 1 of the four others");
            for (uint256 j; j < panel.length; ++j) {
                check(panel[j] != accused && panel[j] != challenger, "own case");
                for (uint256 k; k < j; ++k) check(panel[k] != panel[j], "one voice each");
            }
            bytes32 hidden = voteOf(id, accused, false);
            vm.prank(accused);
            expectError(IDisputes.NotOnPanel.selector);
            disputes.commitVote(id, hidden);
            vm.revertToState(state);
        }
        vm.prank(people[0].addr);
        expectError(IDisputes.OwnCase.selector);
        disputes.challenge(Offence.FalseTier, people[0].addr, SUBJECT, "e");
    }

    /// f = 1 colluding notary of four neither convicts nor acquits, and two do not convict.
    function testAttackColludingNotary() external {
        populate(8, 6);
        address accused = people[7].addr;
        uint256 before = stakeOf(accused);
        uint256 id = challengeAs(people[6].addr, Offence.FalseTier, accused, SUBJECT);
        address[] memory panel = draw(id);
        castVotes(id, panel, 1);
        check(disputes.disputeOf(id).phase == IDisputes.Phase.Dismissed, "not convicted by one");
        eq(stakeOf(accused), before, "untouched");
        vm.warp(endOf(0));
        id = challengeAs(people[6].addr, Offence.FalseTier, accused, bytes32(uint256(1)));
        panel = draw(id);
        castVotes(id, panel, 2);
        check(disputes.disputeOf(id).phase == IDisputes.Phase.Dismissed, "nor by two");
        vm.warp(endOf(1));
        id = challengeAs(people[6].addr, Offence.FalseTier, accused, bytes32(uint256(2)));
        panel = draw(id);
        castVotes(id, panel, 3);
        check(disputes.disputeOf(id).phase == IDisputes.Phase.Guilty, "not acquitted by one");
        eq(before - stakeOf(accused), before * 3 / 10, "slashed");
    }

    /// Accusing oneself through a friend loses more than keeping quiet: half is burned.
    function testAttackSelfChallenge() external {
        populate(8, 6);
        address cheat = people[7].addr;
        address friend = people[6].addr;
        uint256 wealth = token.balanceOf(cheat) + token.balanceOf(friend) + stakeOf(cheat);
        judge(challengeAs(friend, Offence.FalseTier, cheat, SUBJECT), true);
        uint256 after_ = token.balanceOf(cheat) + token.balanceOf(friend) + stakeOf(cheat);
        eq(wealth - after_, 30 * MAG * 3 / 10 / 2, "half of the slash is gone");
    }

    /// A copied vote is worth nothing, one that was not committed neither, and each votes once.
    function testAttackCopiedVote() external {
        populate(8, 6);
        uint256 id = challengeAs(people[6].addr, Offence.FalseTier, people[7].addr, SUBJECT);
        address[] memory panel = draw(id);
        bytes32 hidden = voteOf(id, panel[0], true);
        vm.prank(panel[0]);
        disputes.commitVote(id, hidden);
        vm.prank(panel[0]);
        expectError(IDisputes.AlreadyVoted.selector);
        disputes.commitVote(id, hidden);
        vm.prank(panel[1]);
        disputes.commitVote(id, hidden);
        vm.warp(disputes.disputeOf(id).commitEnd);
        vm.prank(panel[1]);
        expectError(IDisputes.VoteDoesNotMatch.selector);
        disputes.revealVote(id, true, "salt");
        vm.prank(panel[2]);
        vm.expectRevert();
        disputes.revealVote(id, true, "salt");
    }

    /// A wrong accusation costs its bond, and nobody is accused of one thing twice.
    function testAttackChallengeSpam() external {
        populate(8, 6);
        address spammer = people[6].addr;
        address accused = people[7].addr;
        uint256 purse = token.balanceOf(spammer);
        uint256 id = challengeAs(spammer, Offence.FalseTier, accused, SUBJECT);
        eq(purse - token.balanceOf(spammer), 20 * MAG, "staked");
        vm.prank(people[0].addr);
        expectError(IDisputes.AlreadyDisputed.selector);
        disputes.challenge(Offence.FalseTier, accused, SUBJECT, "again");
        judge(id, false);
        eq(purse - token.balanceOf(spammer), 20 * MAG, "lost");
        vm.prank(spammer);
        expectError(IDisputes.SubjectOutOfRange.selector);
        disputes.challenge(Offence.FalseTier, accused, SUBJECT, "again");
        Vm.Wallet memory poor = actor("poor");
        vm.prank(poor.addr);
        vm.expectRevert();
        disputes.challenge(Offence.FalseTier, people[5].addr, SUBJECT, "e");
    }

    /// Full tables: 31 seats and no more, and the dearest calls over them stay payable.
    function testAttackUnboundedLoops() external {
        Values memory v = defaultValues();
        v.panelSize = 31;
        deployLedger(v);
        populate(34, 31);
        eq(nodes.notaryCount(), 31, "31 seats");
        vm.prank(people[31].addr);
        expectError(INodes.NoSeat.selector);
        nodes.takeSeat(100 * MAG);
        vm.prank(people[31].addr);
        nodes.takeSeat(101 * MAG);
        eq(nodes.notaryCount(), 31, "still 31");
        uint256 id = challengeAs(people[32].addr, Offence.FalseTier, people[33].addr, SUBJECT);
        vm.roll(uint256(disputes.disputeOf(id).drawBlock) + 1);
        uint256 gas = gasleft();
        disputes.drawPanel(id, new address[](0));
        le(gas - gasleft(), 1_600_000, "a draw of 31");
        address[] memory panel = disputes.panelOf(id);
        eq(panel.length, 31, "the whole table");
        gas = gasleft();
        castVotes(id, panel, 31);
        le(gas - gasleft(), 6_000_000, "31 votes and the verdict");
    }

    /// Governed values act from the next epoch on, never on what has begun.
    function testAttackParameterFrontRunning() external {
        populate(6, 5);
        vm.warp(endOf(0) + 10);
        commitAs(0, 0, "r", 1, "n");
        vm.prank(people[1].addr);
        nodes.leaveSeat();
        uint64 release = nodes.nodeOf(people[1].addr).releaseTime;
        (, uint64 commitEnd, uint64 revealEnd,,) = epochs.windowsOf(0);
        Values memory v = defaultValues();
        v.commitSeconds = 30;
        v.revealSeconds = 30;
        v.epochPool = uint96(1 * MAG);
        v.slashBps[0] = 10_000;
        v.tierBonds[3] = uint96(25 * MAG);
        expectOwnerOnly(v);
        vm.prank(timelock);
        params.schedule(v);
        (, uint64 commitAfter, uint64 revealAfter,,) = epochs.windowsOf(0);
        eq(commitAfter, commitEnd, "commit window");
        eq(revealAfter, revealEnd, "reveal window");
        eq(params.current().epochPool, 1_000 * MAG, "the running epoch's pool");
        eq(nodes.nodeOf(people[1].addr).releaseTime, release, "what unbonds");
        toSettle(0);
        eq(epochs.poolOf(0), 1_000 * MAG, "an ended epoch's pool");
        vm.warp(endOf(1));
        eq(params.current().epochPool, 1 * MAG, "from the next epoch on");
        eq(params.valuesAt(1).epochPool, 1_000 * MAG, "history stays");
    }

    function expectOwnerOnly(Values memory v) internal {
        vm.prank(people[0].addr);
        vm.expectRevert();
        params.schedule(v);
    }
}
