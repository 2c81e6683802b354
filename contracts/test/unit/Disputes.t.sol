// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";

/// Challenges of roots, from the bond to the verdict, and draws.
contract DisputesTest is Ledger {
    uint256 private constant POOL = 1_000 * MAG;
    uint256 private constant BOND = 20 * MAG;
    uint256 private constant JOB = 1 << 255;
    address[] private nobody;

    /// Eight notaries (three sign, and one more may be the proposer), one plain node.
    function setUp() external {
        deployLedger(defaultValues());
        populate(9, 8);
    }

    function phaseOf(uint256 id) private view returns (uint256) {
        return uint256(disputes.disputeOf(id).phase);
    }

    function at(uint256 id, IDisputes.Phase phase) private view {
        eq(phaseOf(id), uint256(phase), "phase");
    }

    /// A challenge by the last node that must fail with this error.
    function refuses(bytes memory error, Offence offence, address accused, uint256 subject) private {
        vm.prank(people[8].addr);
        vm.expectRevert(error);
        disputes.challenge(offence, accused, bytes32(subject), "e");
    }

    function badRoot() private returns (uint256 id, address accused) {
        settle(0, "bad", 9);
        accused = epochs.lastSettlement().proposer;
        id = challengeAs(people[8].addr, Offence.BadRoot, accused, 0);
    }

    /// All of the panel vote so.
    function vote(uint256 id, address[] memory panel, uint256 from, uint256 to, bool guilty) private {
        for (uint256 i = from; i < to; ++i) {
            bytes32 hidden = voteOf(id, panel[i], guilty);
            vm.prank(panel[i]);
            disputes.commitVote(id, hidden);
        }
    }

    function open(uint256 id, address[] memory panel, uint256 from, uint256 to, bool guilty) private {
        for (uint256 i = from; i < to; ++i) {
            vm.prank(panel[i]);
            disputes.revealVote(id, guilty, "salt");
        }
    }

    // Bad roots.

    function testABadRootIsPaidFor() external {
        (uint256 id, address accused) = badRoot();
        address challenger = people[8].addr;
        IDisputes.Dispute memory d = disputes.disputeOf(id);
        eq(id, 1, "disputes count from 1");
        eq(disputes.disputeCount(), 1, "one");
        eq(uint256(d.offence), uint256(Offence.BadRoot), "offence");
        eq(d.accused, accused, "accused");
        eq(d.challenger, challenger, "challenger");
        eq(d.subject, 0, "subject");
        eq(d.challengerBond, BOND, "bond");
        eq(d.drawBlock, block.number + 1, "draw");
        at(id, IDisputes.Phase.Drawing);
        eq(nodes.nodeOf(accused).locks, 1, "locked");
        eq(token.balanceOf(challenger), PURSE - 30 * MAG - BOND, "staked");
        uint256 stake = stakeOf(accused);
        uint256 supply = token.totalSupply();

        judge(id, true);
        at(id, IDisputes.Phase.Guilty);
        eq(disputes.disputeOf(id).guiltyVotes, 4, "votes");
        eq(stakeOf(accused), 0, "all is gone");
        check(nodes.nodeOf(accused).banned, "banned");
        eq(nodes.nodeOf(accused).locks, 0, "unlocked");
        eq(token.balanceOf(challenger), PURSE - 30 * MAG + stake / 2, "bond back, and half");
        eq(supply - token.totalSupply(), POOL + stake - stake / 2, "mint and the other half burned");
        check(epochs.lastSettlement().rejected, "rejected");
        eq(token.balanceOf(address(disputes)), 0, "nothing is left here");
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongPhase.selector, id, IDisputes.Phase.Guilty)
        );
        disputes.resolve(id);
    }

    function testATrueRootStands() external {
        (uint256 id, address accused) = badRoot();
        uint256 stake = stakeOf(accused);
        uint256 supply = token.totalSupply();
        judge(id, false);
        at(id, IDisputes.Phase.Dismissed);
        eq(disputes.disputeOf(id).innocentVotes, 4, "votes");
        eq(stakeOf(accused), stake, "untouched");
        eq(supply - token.totalSupply(), BOND, "the challenger's bond is burned");
        check(epochs.isFinal(0), "upheld");
        eq(nodes.nodeOf(accused).locks, 0, "unlocked");
        vm.expectRevert(IDisputes.NotAnOffence.selector);
        disputes.punishApprovers(0, "bad", signers);
    }

    function testUndecidedIsNotUpheld() external {
        (uint256 id, address accused) = badRoot();
        uint256 stake = stakeOf(accused);
        address[] memory panel = draw(id);
        // Two and one: neither convicts nor acquits. The second of them is kept back, the fourth absent.
        vote(id, panel, 0, 2, true);
        vote(id, panel, 2, 3, false);
        vm.warp(disputes.disputeOf(id).commitEnd);
        open(id, panel, 0, 1, true);
        open(id, panel, 2, 3, false);
        uint256 withheld = stakeOf(panel[1]);
        uint256 away = stakeOf(panel[3]);
        vm.warp(disputes.disputeOf(id).revealEnd);
        vm.expectEmit(address(disputes));
        emit IDisputes.Absent(id, panel[1], withheld / 10);
        vm.expectEmit(address(disputes));
        emit IDisputes.Absent(id, panel[3], away / 100);
        disputes.resolve(id);
        at(id, IDisputes.Phase.Inconclusive);
        eq(stakeOf(accused), stake, "nobody is slashed");
        eq(stakeOf(panel[1]), withheld - withheld / 10, "but who kept a vote back");
        eq(stakeOf(panel[3]), away - away / 100, "and a little who stayed away");
        eq(token.balanceOf(people[8].addr), PURSE - 30 * MAG, "bond back");
        check(epochs.lastSettlement().rejected, "not upheld");
        // A true root that nobody could judge may be settled again, signatures and all.
        settleAs(epochs.proposerOf(0), 0, "bad", POOL, 9);
        vm.expectRevert(IDisputes.NotAnOffence.selector);
        disputes.punishApprovers(0, "bad", signers);
    }

    function testChallengesOfRoots() external {
        bytes memory error = abi.encodeWithSelector(IEpochs.NotChallengeable.selector, 0);
        refuses(error, Offence.BadRoot, people[0].addr, 0);
        (, address accused) = badRoot();
        address other = people[accused == people[0].addr ? 1 : 0].addr;
        error = abi.encodeWithSelector(IDisputes.AlreadyDisputed.selector, Offence.BadRoot, accused, 0);
        refuses(error, Offence.BadRoot, accused, 0);
        error = abi.encodeWithSelector(IEpochs.NotChallengeable.selector, 1);
        refuses(error, Offence.BadRoot, accused, 1);
        judge(1, false);
        settle(1, "next", 9);
        accused = epochs.lastSettlement().proposer;
        other = people[accused == people[0].addr ? 1 : 0].addr;
        error = abi.encodeWithSelector(IDisputes.WrongAccused.selector, other, accused);
        refuses(error, Offence.BadRoot, other, 1);
    }

    function testSubjectsAndOffences() external {
        bytes memory none = abi.encodeWithSelector(IDisputes.NotAnOffence.selector);
        refuses(none, Offence.NoReveal, people[0].addr, 0);
        refuses(none, Offence.Mismatch, people[0].addr, 0);
        refuses(none, Offence.FraudulentApproval, people[0].addr, 0);
        uint256 large = 1 << 40;
        bytes memory range = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, large);
        refuses(range, Offence.BadRoot, people[0].addr, large);
        refuses(range, Offence.BadData, people[0].addr, large);
        range = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, JOB | large);
        refuses(range, Offence.BadData, people[0].addr, JOB | large);
        // The mark of a job belongs to BadData alone.
        range = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, JOB);
        refuses(range, Offence.BadRoot, people[0].addr, JOB);
        refuses(
            abi.encodeWithSelector(IDisputes.OwnCase.selector, people[8].addr),
            Offence.FalseTier, people[8].addr, 0
        );
    }

    function testUnknownDisputes() external {
        bytes memory unknown = abi.encodeWithSelector(IDisputes.UnknownDispute.selector, 1);
        vm.expectRevert(unknown);
        disputes.drawPanel(1, nobody);
        vm.expectRevert(unknown);
        disputes.commitVote(1, "v");
        vm.expectRevert(unknown);
        disputes.revealVote(1, true, "salt");
        vm.expectRevert(unknown);
        disputes.resolve(1);
        at(1, IDisputes.Phase.None);
        eq(disputes.panelOf(1).length, 0, "no panel");
        eq(disputes.disputeCount(), 0, "none");
    }

    // Draws.

    function testTheDrawWaitsForItsBlock() external {
        (uint256 id,) = badRoot();
        uint256 drawBlock = block.number + 1;
        bytes memory early = abi.encodeWithSelector(IDisputes.NotYet.selector, drawBlock);
        vm.expectRevert(early);
        disputes.drawPanel(id, signers);
        vm.roll(drawBlock);
        vm.expectRevert(early);
        disputes.drawPanel(id, signers);
        vm.roll(drawBlock + 1);
        disputes.drawPanel(id, signers);
        at(id, IDisputes.Phase.VoteCommit);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongPhase.selector, id, IDisputes.Phase.VoteCommit)
        );
        disputes.drawPanel(id, signers);
    }

    function testAnOldHashIsReplaced() external {
        (uint256 id,) = badRoot();
        uint256 drawBlock = block.number + 1;
        vm.roll(drawBlock + 257);
        vm.expectEmit(address(disputes));
        emit IDisputes.DrawPostponed(id, uint64(drawBlock + 258));
        disputes.drawPanel(id, signers);
        at(id, IDisputes.Phase.Drawing);
        eq(disputes.disputeOf(id).drawBlock, drawBlock + 258, "another block");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotYet.selector, drawBlock + 258));
        disputes.drawPanel(id, signers);
        vm.roll(drawBlock + 258 + 256);
        disputes.drawPanel(id, signers);
        at(id, IDisputes.Phase.VoteCommit);
    }

    function testTheBlockDecidesThePanel() external {
        uint256 id = challengeAs(people[8].addr, Offence.FalseTier, people[7].addr, 0);
        uint256 drawBlock = disputes.disputeOf(id).drawBlock;
        vm.roll(drawBlock + 1);
        bytes32 first;
        bool moved;
        for (uint256 i; i < 8; ++i) {
            uint256 state = vm.snapshotState();
            vm.setBlockhash(drawBlock, keccak256(abi.encode(i)));
            disputes.drawPanel(id, nobody);
            bytes32 panel = keccak256(abi.encode(disputes.panelOf(id)));
            if (i == 0) first = panel;
            else moved = moved || panel != first;
            vm.revertToState(state);
        }
        check(moved, "by the hash");
    }

    function testWithoutBlocksTheNextBlockDraws() external {
        delete people;
        deployLedger(defaultValues(), false);
        populate(7, 5);
        uint256 id = challengeAs(people[6].addr, Offence.FalseTier, people[5].addr, 0);
        eq(disputes.disputeOf(id).drawBlock, block.number, "no wait");
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotYet.selector, block.number));
        disputes.drawPanel(id, nobody);
        vm.roll(block.number + 1_000);
        disputes.drawPanel(id, nobody);
        at(id, IDisputes.Phase.VoteCommit);
    }

    function testSignersAreNamedAndExcluded() external {
        (uint256 id,) = badRoot();
        vm.roll(block.number + 2);
        vm.expectRevert(IDisputes.WrongSigners.selector);
        disputes.drawPanel(id, nobody);
        signers.push(people[3].addr);
        vm.expectRevert(IDisputes.WrongSigners.selector);
        disputes.drawPanel(id, signers);
        signers.pop();
        disputes.drawPanel(id, signers);
        address[] memory panel = disputes.panelOf(id);
        for (uint256 i; i < panel.length; ++i) {
            for (uint256 j; j < signers.length; ++j) check(panel[i] != signers[j], "a signer");
        }
        id = challengeAs(people[8].addr, Offence.FalseTier, people[7].addr, 0);
        vm.roll(block.number + 2);
        vm.expectRevert(IDisputes.WrongSigners.selector);
        disputes.drawPanel(id, signers);
    }

    /// One notary: signer, proposer, and nobody else to judge.
    function testNobodyToJudge() external {
        delete people;
        deployLedger(defaultValues());
        populate(3, 1);
        (uint256 id, address accused) = badRootBy(people[2].addr);
        vm.roll(block.number + 2);
        vm.expectEmit(address(disputes));
        emit IDisputes.PanelDrawn(id, new address[](0), 0, 0);
        vm.expectEmit(address(disputes));
        emit IDisputes.Resolved(id, IDisputes.Phase.Inconclusive, 0);
        disputes.drawPanel(id, signers);
        at(id, IDisputes.Phase.Inconclusive);
        check(epochs.lastSettlement().rejected, "not upheld");
        eq(stakeOf(accused), 130 * MAG, "not slashed");
        eq(nodes.nodeOf(accused).locks, 0, "unlocked");
        eq(token.balanceOf(people[2].addr), PURSE - 30 * MAG, "bond back");
    }

    function badRootBy(address challenger) private returns (uint256 id, address accused) {
        settle(0, "bad", 3);
        accused = epochs.lastSettlement().proposer;
        id = challengeAs(challenger, Offence.BadRoot, accused, 0);
    }
}
