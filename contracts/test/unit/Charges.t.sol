// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDataRegistry} from "../../src/interfaces/IDataRegistry.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {Offence, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";

/// Challenges of tiers, data and jobs, and how votes are cast.
contract ChargesTest is Ledger {
    uint256 private constant BOND = 20 * MAG;
    uint256 private constant JOB = 1 << 255;
    /// After registering, and after staking on a challenge besides.
    uint256 private constant REST = PURSE - 30 * MAG;

    address private accused;
    address private challenger;

    /// Six notaries, who all may judge what the two others have with each other.
    function setUp() external {
        deployLedger(defaultValues());
        populate(8, 6);
        accused = people[6].addr;
        challenger = people[7].addr;
    }

    function at(uint256 id, IDisputes.Phase phase) private view {
        eq(uint256(disputes.disputeOf(id).phase), uint256(phase), "phase");
    }

    function refuses(bytes memory error, Offence offence, address whom, uint256 subject) private {
        vm.prank(challenger);
        vm.expectRevert(error);
        disputes.challenge(offence, whom, bytes32(subject), "e");
    }

    function falseTier(uint256 epoch) private returns (uint256) {
        return challengeAs(challenger, Offence.FalseTier, accused, bytes32(epoch));
    }

    // Tiers.

    function testAFalseTier() external {
        uint256 id = falseTier(0);
        bytes memory error =
            abi.encodeWithSelector(IDisputes.AlreadyDisputed.selector, Offence.FalseTier, accused, 0);
        refuses(error, Offence.FalseTier, accused, 0);
        judge(id, true);
        eq(stakeOf(accused), 21 * MAG, "30% slashed");
        eq(token.balanceOf(challenger), REST + 45 * MAG / 10, "half of it");
        // Not for the same again; there is an epoch to change the tier in.
        error = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, 0);
        refuses(error, Offence.FalseTier, accused, 0);
        vm.warp(endOf(0));
        error = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, 0);
        refuses(error, Offence.FalseTier, accused, 0);
        id = falseTier(1);
        eq(id, 2, "the next epoch's is another matter");
        judge(id, false);
        eq(token.balanceOf(challenger), REST + 45 * MAG / 10 - BOND, "dismissed");
    }

    function testTiersOfThisEpochAndTheLast() external {
        vm.warp(endOf(4));
        bytes memory error = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, 6);
        refuses(error, Offence.FalseTier, accused, 6);
        error = abi.encodeWithSelector(IDisputes.SubjectOutOfRange.selector, 3);
        refuses(error, Offence.FalseTier, accused, 3);
        uint256 state = vm.snapshotState();
        falseTier(4);
        vm.revertToState(state);
        falseTier(5);
        error = abi.encodeWithSelector(INodes.NotRegistered.selector, address(this));
        refuses(error, Offence.FalseTier, address(this), 5);
    }

    // Data.

    function record() private returns (uint256 id) {
        vm.prank(accused);
        id = registry.registerData("content", 10, "uri");
    }

    function testBadData() external {
        uint256 subject = record();
        bytes memory error = abi.encodeWithSelector(IDisputes.WrongAccused.selector, people[0].addr, accused);
        refuses(error, Offence.BadData, people[0].addr, subject);
        uint256 id = challengeAs(challenger, Offence.BadData, accused, bytes32(subject));
        eq(uint256(disputes.disputeOf(id).offence), uint256(Offence.BadData), "offence");
        eq(disputes.disputeOf(id).subject, bytes32(subject), "subject");
        error = abi.encodeWithSelector(
            IDataRegistry.WrongState.selector, subject, IDataRegistry.State.Challenged
        );
        refuses(error, Offence.BadData, accused, subject);
        judge(id, true);
        eq(stakeOf(accused), 15 * MAG, "half slashed");
        eq(uint256(registry.recordOf(subject).state), uint256(IDataRegistry.State.Rejected), "rejected");
    }

    function testGoodData() external {
        uint256 subject = record();
        judge(challengeAs(challenger, Offence.BadData, accused, bytes32(subject)), false);
        eq(stakeOf(accused), 30 * MAG, "untouched");
        eq(uint256(registry.recordOf(subject).state), uint256(IDataRegistry.State.Pending), "back");
    }

    // Jobs.

    function contested() private returns (uint256 id) {
        vm.prank(challenger);
        id = revenue.createJob("spec", 100 * MAG, uint64(block.timestamp + 100));
        vm.startPrank(accused);
        revenue.takeJob(id);
        revenue.submitResult(id, "result");
        vm.stopPrank();
        vm.prank(challenger);
        revenue.contestResult(id, "reason");
    }

    function testAJobBadlyDone() external {
        uint256 job = contested();
        vm.prank(people[0].addr);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.NotRequester.selector, people[0].addr, challenger)
        );
        disputes.challenge(Offence.BadData, accused, bytes32(JOB | job), "e");
        bytes memory error = abi.encodeWithSelector(IDisputes.WrongAccused.selector, people[0].addr, accused);
        refuses(error, Offence.BadData, people[0].addr, JOB | job);
        uint256 id = challengeAs(challenger, Offence.BadData, accused, bytes32(JOB | job));
        eq(disputes.disputeOf(id).subject, bytes32(JOB | job), "subject");
        judge(id, true);
        eq(uint256(revenue.jobOf(job).state), uint256(IRevenue.JobState.Refunded), "refunded");
        eq(token.balanceOf(challenger), REST + 75 * MAG / 10, "with half of what was slashed");
        eq(stakeOf(accused), 15 * MAG, "of half the bond");
    }

    function testAJobWellDone() external {
        uint256 job = contested();
        judge(challengeAs(challenger, Offence.BadData, accused, bytes32(JOB | job)), false);
        eq(uint256(revenue.jobOf(job).state), uint256(IRevenue.JobState.Paid), "paid");
        eq(stakeOf(accused), 30 * MAG, "untouched");
    }

    // Votes.

    function hide(uint256 id, address notary, bool guilty) private {
        bytes32 hidden = voteOf(id, notary, guilty);
        vm.prank(notary);
        disputes.commitVote(id, hidden);
    }

    function wrongPhase(uint256 id, IDisputes.Phase phase) private {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WrongPhase.selector, id, phase));
    }

    function testVotesAreHiddenThenOpened() external {
        uint256 id = falseTier(0);
        vm.prank(people[0].addr);
        wrongPhase(id, IDisputes.Phase.Drawing);
        disputes.commitVote(id, "v");
        address[] memory panel = draw(id);
        eq(panel.length, 4, "panel");
        vm.prank(accused);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotOnPanel.selector, accused));
        disputes.commitVote(id, "v");
        vm.expectEmit(address(disputes));
        emit IDisputes.VoteCommitted(id, panel[0]);
        hide(id, panel[0], true);
        vm.prank(panel[0]);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyVoted.selector, panel[0]));
        disputes.commitVote(id, "v");
        vm.prank(panel[0]);
        wrongPhase(id, IDisputes.Phase.VoteCommit);
        disputes.revealVote(id, true, "salt");
        wrongPhase(id, IDisputes.Phase.VoteCommit);
        disputes.resolve(id);
        hide(id, panel[1], true);
        vm.warp(disputes.disputeOf(id).commitEnd - 1);
        hide(id, panel[2], true);
        vm.warp(disputes.disputeOf(id).commitEnd);
        vm.prank(panel[3]);
        wrongPhase(id, IDisputes.Phase.VoteReveal);
        disputes.commitVote(id, "v");
        vm.prank(panel[3]);
        vm.expectRevert(IDisputes.VoteDoesNotMatch.selector);
        disputes.revealVote(id, true, "salt");
        vm.prank(panel[0]);
        vm.expectRevert(IDisputes.VoteDoesNotMatch.selector);
        disputes.revealVote(id, false, "salt");
        vm.expectEmit(address(disputes));
        emit IDisputes.VoteRevealed(id, panel[0], true);
        vm.prank(panel[0]);
        disputes.revealVote(id, true, "salt");
        vm.prank(panel[0]);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AlreadyVoted.selector, panel[0]));
        disputes.revealVote(id, true, "salt");
        wrongPhase(id, IDisputes.Phase.VoteReveal);
        disputes.resolve(id);
        vm.warp(disputes.disputeOf(id).revealEnd);
        vm.prank(panel[1]);
        wrongPhase(id, IDisputes.Phase.VoteReveal);
        disputes.revealVote(id, true, "salt");
        disputes.resolve(id);
        at(id, IDisputes.Phase.Inconclusive);
    }

    /// When all have voted, nobody waits for the clock.
    function testVotesEndWhenAllAreIn() external {
        uint256 id = falseTier(0);
        address[] memory panel = draw(id);
        for (uint256 i; i < 4; ++i) hide(id, panel[i], i > 0);
        at(id, IDisputes.Phase.VoteReveal);
        for (uint256 i; i < 4; ++i) {
            wrongPhase(id, IDisputes.Phase.VoteReveal);
            disputes.resolve(id);
            vm.prank(panel[i]);
            disputes.revealVote(id, i > 0, "salt");
        }
        disputes.resolve(id);
        at(id, IDisputes.Phase.Guilty);
        eq(disputes.disputeOf(id).guiltyVotes, 3, "guilty");
        eq(disputes.disputeOf(id).innocentVotes, 1, "innocent");
    }

    function testNobodyVotes() external {
        uint256 id = falseTier(0);
        address[] memory panel = draw(id);
        vm.warp(disputes.disputeOf(id).commitEnd);
        disputes.resolve(id);
        at(id, IDisputes.Phase.Inconclusive);
        for (uint256 i; i < 4; ++i) eq(stakeOf(panel[i]), 130 * MAG * 99 / 100, "a hundredth");
        eq(stakeOf(accused), 30 * MAG, "untouched");
        eq(token.balanceOf(challenger), REST, "bond back");
    }

    /// The stakes of a running case are those of its epoch, whatever is voted meanwhile.
    function testRatesAreOfTheChargesEpoch() external {
        uint256 id = falseTier(0);
        Values memory v = defaultValues();
        v.slashBps[2] = 9_000;
        v.challengerBond = uint96(MAG);
        vm.prank(timelock);
        params.schedule(v);
        vm.warp(endOf(0));
        judge(id, true);
        eq(stakeOf(accused), 21 * MAG, "30%");
        eq(token.balanceOf(challenger), REST + 45 * MAG / 10, "the bond that was staked");
        vm.warp(endOf(1));
        eq(disputes.disputeOf(falseTier(2)).challengerBond, MAG, "the new one");
    }
}
