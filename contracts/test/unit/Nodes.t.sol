// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tier, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {Vm} from "../Vm.sol";
import {Parts} from "./Parts.sol";

contract NodesTest is Parts {
    Vm.Wallet private ann;
    Vm.Wallet private bob;

    function setUp() external {
        deployParts();
        ann = actor("ann");
        bob = actor("bob");
        fund(ann.addr, PURSE);
        fund(bob.addr, PURSE);
    }

    /// What Nodes owes must be what it holds.
    function solvent(string memory when) private view {
        INodes.Node memory a = nodes.nodeOf(ann.addr);
        INodes.Node memory b = nodes.nodeOf(bob.addr);
        uint256 owed = a.bond + a.unbonding + a.notaryBond + b.bond + b.unbonding + b.notaryBond;
        eq(token.balanceOf(address(nodes)), owed, when);
    }

    function testRegisters() external {
        toEpoch(3);
        bytes32 x = bytes32(ann.publicKeyX);
        bytes32 id = sha256(abi.encodePacked(uint8(ann.publicKeyY % 2 == 0 ? 2 : 3), x));
        vm.expectEmit(address(nodes));
        emit INodes.Registered(ann.addr, id, Tier.GpuCompute, 150 * MAG);
        join(ann, Tier.GpuCompute, 150 * MAG);
        INodes.Node memory node = nodes.nodeOf(ann.addr);
        eq(node.nodeId, id, "id");
        eq(uint256(node.tier), uint256(Tier.GpuCompute), "tier");
        check(node.registered && !node.banned, "registered");
        eq(node.registeredEpoch, 3, "epoch");
        eq(node.bond, 150 * MAG, "bond");
        eq(nodes.addressOf(id), ann.addr, "address of id");
        check(nodes.isActive(ann.addr), "active");
        check(!nodes.isActive(bob.addr), "a stranger is not");
        check(!nodes.isNotary(ann.addr), "no notary");
        eq(uint256(nodes.tierAt(ann.addr, 3)), uint256(Tier.GpuCompute), "tier at");
        solvent("registered");
    }

    /// Both prefixes of compressed keys occur.
    function testIdsOfEvenAndOddKeys() external {
        uint256 seen = 0;
        for (uint256 i = 0; seen != 3; ++i) {
            Vm.Wallet memory who = actor(string.concat("key ", vm.toString(i)));
            fund(who.addr, 30 * MAG);
            join(who, Tier.CpuOnly, 30 * MAG);
            bool odd = who.publicKeyY % 2 == 1;
            seen |= odd ? 2 : 1;
            bytes memory key = abi.encodePacked(odd ? bytes1(0x03) : bytes1(0x02), who.publicKeyX);
            eq(nodes.addressOf(sha256(key)), who.addr, "id");
        }
    }

    function testRegistersOnlyTheCallersKey() external {
        (bytes32 x, bytes32 y) = (bytes32(ann.publicKeyX), bytes32(ann.publicKeyY));
        vm.expectRevert(
            abi.encodeWithSelector(INodes.KeyNotOfCaller.selector, ann.addr, bob.addr)
        );
        vm.prank(bob.addr);
        nodes.register(x, y, Tier.CpuOnly, 30 * MAG);
    }

    function testRegistersOnceAndWithBond() external {
        expect(INodes.BondTooSmall.selector, 30 * MAG - 1, 30 * MAG);
        join(ann, Tier.CpuOnly, 30 * MAG - 1);
        join(ann, Tier.CpuOnly, 30 * MAG);
        expect(INodes.AlreadyRegistered.selector, ann.addr);
        join(ann, Tier.CpuOnly, 30 * MAG);
    }

    function testFuzzEveryTierHasItsBond(uint8 which, uint256 bond) external {
        Tier tier = Tier(which % 5);
        bond = bound(bond, 1, 400 * MAG);
        uint256 least = defaultValues().tierBonds[which % 5];
        if (bond < least) expect(INodes.BondTooSmall.selector, bond, least);
        join(ann, tier, bond);
        check(nodes.isActive(ann.addr) == bond >= least, "active");
    }

    function testAddsBond() external {
        join(ann, Tier.CpuOnly, 30 * MAG);
        vm.expectEmit(address(nodes));
        emit INodes.Bonded(ann.addr, 5 * MAG, 35 * MAG);
        vm.startPrank(ann.addr);
        nodes.addBond(5 * MAG);
        expect(INodes.ZeroAmount.selector);
        nodes.addBond(0);
        vm.stopPrank();
        expect(INodes.NotRegistered.selector, bob.addr);
        vm.prank(bob.addr);
        nodes.addBond(1);
        solvent("added");
    }

    function testABondBeyondItsFieldIsRefused() external {
        address bank = create("MagToken", abi.encode(address(this), address(this), type(uint256).max));
        deployParts(bank);
        token.transfer(ann.addr, type(uint128).max);
        vm.startPrank(ann.addr);
        token.approve(address(nodes), type(uint256).max);
        vm.expectRevert();
        nodes.register(bytes32(ann.publicKeyX), bytes32(ann.publicKeyY), Tier.CpuOnly, 1 << 96);
        nodes.register(bytes32(ann.publicKeyX), bytes32(ann.publicKeyY), Tier.CpuOnly, (1 << 96) - 1);
        vm.expectRevert();
        nodes.addBond(1);
        vm.stopPrank();
    }

    function testUnbondsAndWithdraws() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        uint256 release = vm.getBlockTimestamp() + 3_600;
        vm.startPrank(ann.addr);
        expect(INodes.ZeroAmount.selector);
        nodes.unbond(0);
        expect(INodes.BondTooSmall.selector, 100 * MAG, 101 * MAG);
        nodes.unbond(101 * MAG);
        expect(INodes.BondTooSmall.selector, 30 * MAG - 1, 30 * MAG);
        nodes.unbond(70 * MAG + 1);
        vm.expectEmit(address(nodes));
        emit INodes.Unbonding(ann.addr, 70 * MAG, 30 * MAG, uint64(release));
        nodes.unbond(70 * MAG);
        check(nodes.isActive(ann.addr), "still active");
        solvent("unbonding");
        vm.warp(release - 1);
        expect(INodes.StillUnbonding.selector, release);
        nodes.withdraw();
        vm.warp(release);
        vm.expectEmit(address(nodes));
        emit INodes.Withdrawn(ann.addr, 70 * MAG);
        nodes.withdraw();
        eq(token.balanceOf(ann.addr), PURSE - 30 * MAG, "paid out");
        expect(INodes.NothingToWithdraw.selector);
        nodes.withdraw();
        nodes.unbond(30 * MAG);
        check(!nodes.isActive(ann.addr), "gone");
        skip(3_600);
        nodes.withdraw();
        eq(token.balanceOf(ann.addr), PURSE, "all back");
        // The same node comes back.
        nodes.addBond(30 * MAG);
        check(nodes.isActive(ann.addr), "back");
        vm.stopPrank();
        solvent("end");
    }

    function testWhatWaitsWaitsAgain() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.startPrank(ann.addr);
        nodes.unbond(10 * MAG);
        skip(3_599);
        nodes.unbond(10 * MAG);
        vm.stopPrank();
        eq(nodes.nodeOf(ann.addr).releaseTime, vm.getBlockTimestamp() + 3_600, "release");
    }

    function testAShorterTimeReleasesNothingSooner() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.warp(endOf(0) - 1);
        vm.prank(ann.addr);
        nodes.unbond(10 * MAG);
        uint256 release = nodes.nodeOf(ann.addr).releaseTime;
        Values memory v = defaultValues();
        v.unbondingSeconds = 1_140;
        govern(v);
        toEpoch(1);
        vm.prank(ann.addr);
        nodes.unbond(10 * MAG);
        eq(nodes.nodeOf(ann.addr).releaseTime, release, "release");
    }

    function testNothingIsWithdrawnUnderDispute() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.prank(ann.addr);
        nodes.unbond(70 * MAG);
        vm.startPrank(COURT);
        nodes.lock(ann.addr);
        nodes.lock(ann.addr);
        nodes.unlock(ann.addr);
        vm.stopPrank();
        eq(nodes.nodeOf(ann.addr).locks, 1, "locks");
        skip(3_600);
        expect(INodes.UnderDispute.selector, ann.addr);
        vm.prank(ann.addr);
        nodes.withdraw();
        vm.prank(COURT);
        nodes.unlock(ann.addr);
        vm.prank(ann.addr);
        nodes.withdraw();
        vm.prank(COURT);
        vm.expectRevert();
        nodes.unlock(ann.addr);
    }

    function testOnlyDisputesSlashesAndLocks() external {
        expect(INodes.NotDisputes.selector, address(this));
        nodes.slash(ann.addr, 1_000, address(0));
        expect(INodes.NotDisputes.selector, address(this));
        nodes.lock(ann.addr);
        expect(INodes.NotDisputes.selector, address(this));
        nodes.unlock(ann.addr);
        expect(INodes.NotRegistered.selector, ann.addr);
        vm.prank(COURT);
        nodes.slash(ann.addr, 1_000, address(0));
    }

    function testSlashesWhateverIsHeld() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.startPrank(ann.addr);
        nodes.takeSeat(300 * MAG);
        nodes.unbond(40 * MAG);
        vm.stopPrank();
        // 10% of 60 at work, 40 on its way out and 300 in the seat.
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(nodes));
        emit INodes.Slashed(ann.addr, 40 * MAG, 54 * MAG, bob.addr, 20 * MAG);
        vm.prank(COURT);
        eq(nodes.slash(ann.addr, 1_000, bob.addr), 40 * MAG, "amount");
        INodes.Node memory node = nodes.nodeOf(ann.addr);
        eq(node.bond, 54 * MAG, "bond");
        eq(node.unbonding, 36 * MAG, "unbonding");
        eq(node.notaryBond, 270 * MAG, "seat");
        eq(token.balanceOf(bob.addr), PURSE + 20 * MAG, "challenger");
        eq(supply - token.totalSupply(), 20 * MAG, "burned");
        check(!node.banned && nodes.isNotary(ann.addr), "goes on");
        solvent("slashed");
    }

    function testSlashBelowTheLeastRests() external {
        join(ann, Tier.CpuOnly, 30 * MAG);
        vm.prank(ann.addr);
        nodes.takeSeat(100 * MAG);
        vm.prank(COURT);
        nodes.slash(ann.addr, 1_000, address(0));
        check(!nodes.isActive(ann.addr), "not active");
        check(!nodes.isNotary(ann.addr), "no notary");
        eq(nodes.notaryCount(), 0, "seats");
        eq(nodes.nodeOf(ann.addr).unbonding, 90 * MAG, "the seat's rest is on its way out");
        vm.prank(ann.addr);
        nodes.addBond(3 * MAG);
        check(nodes.isActive(ann.addr), "active again");
        solvent("end");
    }

    function testAWholeBondIsABan() external {
        join(ann, Tier.CpuOnly, 30 * MAG);
        vm.prank(ann.addr);
        nodes.takeSeat(100 * MAG);
        vm.prank(COURT);
        eq(nodes.slash(ann.addr, 10_000, bob.addr), 130 * MAG, "all");
        INodes.Node memory node = nodes.nodeOf(ann.addr);
        check(node.banned && !nodes.isActive(ann.addr) && !nodes.isNotary(ann.addr), "banned");
        eq(node.unbonding, 0, "nothing left");
        vm.startPrank(ann.addr);
        expect(INodes.Banned.selector, ann.addr);
        nodes.addBond(30 * MAG);
        expect(INodes.Banned.selector, ann.addr);
        nodes.takeSeat(100 * MAG);
        expect(INodes.Banned.selector, ann.addr);
        nodes.changeTier(Tier.MobileLight);
        vm.stopPrank();
        expect(INodes.AlreadyRegistered.selector, ann.addr);
        join(ann, Tier.CpuOnly, 30 * MAG);
        // Nothing more to take, and no stumbling over it.
        vm.prank(COURT);
        eq(nodes.slash(ann.addr, 10_000, bob.addr), 0, "again");
        solvent("end");
    }

    function testFuzzSlashingPaysOut(uint96 bond, uint96 out, uint96 seat, uint16 bps) external {
        bond = uint96(bound(bond, 30 * MAG, 1_000 * MAG));
        out = uint96(bound(out, 0, bond - 30 * MAG));
        seat = uint96(bound(seat, 100 * MAG, 5_000 * MAG));
        bps = uint16(bound(bps, 1, 10_000));
        join(ann, Tier.CpuOnly, bond);
        vm.startPrank(ann.addr);
        nodes.takeSeat(seat);
        if (out != 0) nodes.unbond(out);
        vm.stopPrank();
        vm.prank(COURT);
        uint256 amount = nodes.slash(ann.addr, bps, bob.addr);
        le(amount, (uint256(bond) + seat) * bps / 10_000, "never more than the rate");
        le((uint256(bond) + seat) * bps / 10_000, amount + 2, "nor less, but for dust");
        eq(token.balanceOf(bob.addr), PURSE + amount / 2, "half");
        solvent("slashed");
    }

    function testATierChangesWithTheNextEpoch() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        toEpoch(4);
        vm.startPrank(ann.addr);
        expect(INodes.BondTooSmall.selector, 100 * MAG, 300 * MAG);
        nodes.changeTier(Tier.ClaudeSession);
        vm.expectEmit(address(nodes));
        emit INodes.TierChanged(ann.addr, Tier.GpuCompute, 5);
        nodes.changeTier(Tier.GpuCompute);
        eq(uint256(nodes.nodeOf(ann.addr).tier), uint256(Tier.CpuOnly), "running epoch");
        // The bond must carry both until then.
        expect(INodes.BondTooSmall.selector, 99 * MAG, 100 * MAG);
        nodes.unbond(1 * MAG);
        toEpoch(5);
        eq(uint256(nodes.nodeOf(ann.addr).tier), uint256(Tier.GpuCompute), "next epoch");
        eq(uint256(nodes.tierAt(ann.addr, 4)), uint256(Tier.CpuOnly), "looking back");
        check(nodes.isActive(ann.addr), "active");
        // Epoch 4 can still be settled: its tier must stay known.
        uint256 until = endOf(4) + 3_600;
        vm.warp(until - 1);
        expect(INodes.TierJustChanged.selector, until);
        nodes.changeTier(Tier.CpuOnly);
        vm.warp(until);
        nodes.changeTier(Tier.CpuOnly);
        expect(INodes.BondTooSmall.selector, 99 * MAG, 100 * MAG);
        nodes.unbond(1 * MAG);
        vm.warp(until + EPOCH);
        nodes.unbond(70 * MAG);
        vm.stopPrank();
        solvent("end");
    }

    function testNoTierChangesUnderDispute() external {
        expect(INodes.NotRegistered.selector, ann.addr);
        vm.prank(ann.addr);
        nodes.changeTier(Tier.MobileLight);
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.prank(COURT);
        nodes.lock(ann.addr);
        expect(INodes.UnderDispute.selector, ann.addr);
        vm.prank(ann.addr);
        nodes.changeTier(Tier.MobileLight);
    }

    function testAHigherLeastBondPutsToRest() external {
        join(ann, Tier.CpuOnly, 30 * MAG);
        Values memory v = defaultValues();
        v.tierBonds[3] = uint96(31 * MAG);
        govern(v);
        check(nodes.isActive(ann.addr), "in the running epoch");
        toEpoch(1);
        check(!nodes.isActive(ann.addr), "in the next");
        // All can leave, but not a part that leaves too little.
        vm.prank(ann.addr);
        nodes.unbond(30 * MAG);
    }
}
