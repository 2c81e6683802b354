// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {Lottery} from "../../src/Lottery.sol";
import {Ledger} from "../Ledger.sol";

/// Who judges, and how many of them it takes: what an attacker with one seat and any number of
/// transactions could bend.
contract DrawsTest is Ledger {
    address[] private none;

    function setUp() external {
        deployLedger(defaultValues());
    }

    function accuse(uint256 challenger, uint256 accused) private returns (uint256) {
        vm.prank(people[challenger].addr);
        return disputes.challenge(Offence.FalseTier, people[accused].addr, 0, "evidence");
    }

    /// To the block after the draw's, whose hash is now known to all.
    function toDraw(uint256 id, bytes32 hash) private {
        uint256 drawBlock = disputes.disputeOf(id).drawBlock;
        vm.roll(drawBlock + 1);
        vm.setBlockhash(drawBlock, hash);
    }

    function addToSeat(uint256 who, uint256 amount) private {
        vm.prank(people[who].addr);
        nodes.takeSeat(amount);
    }

    function ballot(uint256 id, address juror, bool guilty) private view returns (bytes32) {
        return keccak256(
            abi.encode(block.chainid, address(disputes), id, juror, guilty, bytes32("salt"))
        );
    }

    /// The first `guilty` jurors convict, the next `innocent` acquit, the others stay away.
    function judge(uint256 id, uint256 guilty, uint256 innocent) private {
        address[] memory panel = disputes.panelOf(id);
        for (uint256 i = 0; i < guilty + innocent; ++i) {
            bytes32 vote = ballot(id, panel[i], i < guilty);
            vm.prank(panel[i]);
            disputes.commitVote(id, vote);
        }
        vm.warp(disputes.disputeOf(id).commitEnd);
        for (uint256 i = 0; i < guilty + innocent; ++i) {
            vm.prank(panel[i]);
            disputes.revealVote(id, i < guilty, "salt");
        }
        disputes.resolve(id);
    }

    /// Once the hash is known, a notary adds to its seat, or leaves it, until its friends are drawn. None
    /// of it moves anybody but itself.
    function testNobodyTurnsTheDrawOnceItsHashIsKnown() external {
        populate(14, 12);
        uint256 id = accuse(12, 13);
        toDraw(id, "hash");
        uint256 state = vm.snapshotState();
        disputes.drawPanel(id, none);
        address[] memory before = disputes.panelOf(id);
        for (uint256 i = 0; i < 24; ++i) {
            vm.revertToState(state);
            state = vm.snapshotState();
            address mover = people[i / 2].addr;
            if (i % 2 == 0) {
                addToSeat(i / 2, i + 1);
            } else {
                vm.prank(mover);
                nodes.leaveSeat();
            }
            disputes.drawPanel(id, none);
            address[] memory panel = disputes.panelOf(id);
            eq(panel.length, 4, "four judge");
            check(!on(panel, mover), "who moved after the hash does not judge");
            for (uint256 j = 0; j < before.length; ++j) {
                check(before[j] == mover || on(panel, before[j]), "the others stay");
            }
        }
    }

    /// Of three notaries with 100, 200 and 700 the first juror is each as often as its bond says, however
    /// the other two are ordered.
    function testDrawsByBond() external pure {
        uint256[3] memory bonds = [uint256(100), 200, 700];
        uint256[3] memory wins;
        for (uint256 i = 0; i < 2_000; ++i) {
            uint256 winner = 0;
            uint256 least = type(uint256).max;
            for (uint256 j = 0; j < 3; ++j) {
                uint256 number = Lottery.ticket(bytes32(i), address(uint160(j + 1)), bonds[j] * MAG);
                if (number < least) (least, winner) = (number, j);
            }
            ++wins[winner];
        }
        // Four standard deviations.
        near(wins[0], 200, 54);
        near(wins[1], 400, 72);
        near(wins[2], 1_400, 82);
    }

    function near(uint256 value, uint256 expected, uint256 tolerance) private pure {
        check(value + tolerance >= expected, "too seldom");
        le(value, expected + tolerance, "too often");
    }

    function testFuzzMoreBondIsNeverDrawnLater(bytes32 seed, address who, uint96 bond, uint96 more)
        external
        pure
    {
        bond = uint96(bound(bond, 1, type(uint96).max - 1));
        more = uint96(bound(more, 1, type(uint96).max - bond));
        uint256 before = Lottery.ticket(seed, who, bond);
        le(Lottery.ticket(seed, who, uint256(bond) + more), before, "sooner");
    }

    function on(address[] memory panel, address who) private pure returns (bool) {
        for (uint256 i = 0; i < panel.length; ++i) {
            if (panel[i] == who) return true;
        }
        return false;
    }

    /// Nor by taking a seat with any bond, however large.
    function testNobodyBuysASeatOnThePanel() external {
        populate(14, 10);
        uint256 id = accuse(12, 13);
        toDraw(id, "hash");
        addToSeat(10, 5_000 * MAG);
        disputes.drawPanel(id, none);
        check(!on(disputes.panelOf(id), people[10].addr), "too late");
        // Who sat down in time is drawn by that bond, as nearly all of the bonds are its.
        vm.roll(vm.getBlockNumber() + 1);
        id = accuse(12, 0);
        toDraw(id, "hash");
        disputes.drawPanel(id, none);
        check(on(disputes.panelOf(id), people[10].addr), "in time");
    }

    /// The proposer's draw likewise: a notary adds to its bond to be drawn.
    function testNobodyTurnsTheProposersDraw() external {
        populate(12, 12);
        address proposer = epochs.proposerOf(0);
        uint256 changed = 0;
        for (uint256 i = 0; i < 32; ++i) {
            addToSeat(i % 12, 1e12);
            if (epochs.proposerOf(0) != proposer) ++changed;
        }
        eq(changed, 0, "millionths move nothing");
    }

    /// Four notaries tolerate one that is false. Two have signed the root and do not judge it; the false
    /// one is among the other two and must not take the honest signers' bonds.
    function testOneFalseNotaryOfFourConvictsNobody() external {
        populate(6, 4);
        bytes32 root = keccak256("true root");
        settle(0, root, 2);
        address accused = epochs.lastSettlement().proposer;
        address[] memory signers = new address[](2);
        (signers[0], signers[1]) = (people[0].addr, people[1].addr);
        bool signed = accused == signers[0] || accused == signers[1];
        uint256 id = accuseRoot(accused, signers);
        eq(disputes.panelOf(id).length, signed ? 2 : 1, "who is left judges");
        judge(id, 1, disputes.panelOf(id).length - 1);
        check(disputes.disputeOf(id).phase == IDisputes.Phase.Inconclusive, "no verdict");
        check(!nodes.nodeOf(accused).banned, "nobody convicted");
    }

    function accuseRoot(address accused, address[] memory signers) private returns (uint256 id) {
        vm.prank(people[5].addr);
        id = disputes.challenge(Offence.BadRoot, accused, 0, "lie");
        toDraw(id, "hash");
        disputes.drawPanel(id, signers);
    }

    /// The same with whoever proposes: in later epochs another is drawn, or anybody settles.
    function testOneLeftOverOfFourConvictsNobody() external {
        populate(6, 4);
        toFallback(0);
        settleAs(people[3].addr, 0, keccak256("true root"), epochs.poolOf(0), 2);
        address[] memory signers = new address[](2);
        (signers[0], signers[1]) = (people[0].addr, people[1].addr);
        uint256 id = accuseRoot(people[3].addr, signers);
        eq(disputes.panelOf(id).length, 1, "one is left");
        uint256 state = vm.snapshotState();
        judge(id, 1, 0);
        check(disputes.disputeOf(id).phase == IDisputes.Phase.Inconclusive, "not alone");
        vm.revertToState(state);
        judge(id, 0, 1);
        check(disputes.disputeOf(id).phase == IDisputes.Phase.Dismissed, "but acquits");
    }

    function outcome(uint256 notaries, uint256 guilty, uint256 innocent)
        private
        returns (IDisputes.Phase phase)
    {
        uint256 state = vm.snapshotState();
        populate(notaries + 2, notaries);
        uint256 id = accuse(notaries, notaries + 1);
        toDraw(id, "hash");
        disputes.drawPanel(id, none);
        eq(disputes.panelOf(id).length, notaries, "all judge");
        judge(id, guilty, innocent);
        phase = disputes.disputeOf(id).phase;
        vm.revertToState(state);
    }

    function ends(uint256 notaries, uint256 guilty, uint256 innocent, IDisputes.Phase phase) private {
        check(outcome(notaries, guilty, innocent) == phase, "verdict");
    }

    function testVerdictsByTheSizeOfThePanel() external {
        ends(1, 1, 0, IDisputes.Phase.Guilty);
        ends(1, 0, 1, IDisputes.Phase.Dismissed);
        ends(1, 0, 0, IDisputes.Phase.Inconclusive);
        ends(2, 2, 0, IDisputes.Phase.Guilty);
        ends(2, 1, 1, IDisputes.Phase.Inconclusive);
        ends(2, 0, 1, IDisputes.Phase.Inconclusive);
        ends(2, 0, 2, IDisputes.Phase.Dismissed);
        ends(3, 3, 0, IDisputes.Phase.Guilty);
        ends(3, 2, 1, IDisputes.Phase.Inconclusive);
        ends(3, 1, 2, IDisputes.Phase.Dismissed);
        ends(4, 3, 1, IDisputes.Phase.Guilty);
        ends(4, 2, 2, IDisputes.Phase.Dismissed);
        ends(4, 2, 1, IDisputes.Phase.Inconclusive);
        ends(4, 0, 1, IDisputes.Phase.Inconclusive);
    }
}
