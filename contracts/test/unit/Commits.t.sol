// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Ledger} from "../Ledger.sol";

/// Commitments, reveals and commit roots, and their windows to the second.
contract CommitsTest is Ledger {
    bytes32 private constant RESULT = "result";
    bytes32 private constant NONCE = "nonce";

    function setUp() external {
        deployLedger(defaultValues());
        populate(5, 4);
    }

    function closed(uint64 epoch, uint256 opens, uint256 closes) private {
        vm.expectRevert(abi.encodeWithSelector(IEpochs.WindowClosed.selector, epoch, opens, closes));
    }

    function revealAs(uint256 who, uint64 epoch, bytes32 result) private {
        vm.prank(people[who].addr);
        epochs.reveal(epoch, result, 7, NONCE);
    }

    function testCommitsInTheWindowOnly() external {
        uint256 end = endOf(0);
        vm.warp(end - 1);
        closed(0, end, end + 90);
        vm.prank(people[0].addr);
        epochs.commit(0, "c");
        vm.warp(end);
        vm.expectEmit(address(epochs));
        emit IEpochs.Committed(0, people[0].addr, "c");
        vm.prank(people[0].addr);
        epochs.commit(0, "c");
        vm.warp(end + 89);
        vm.prank(people[1].addr);
        epochs.commit(0, "d");
        vm.warp(end + 90);
        closed(0, end, end + 90);
        vm.prank(people[2].addr);
        epochs.commit(0, "e");
        eq(epochs.commitmentAt(0, people[0].addr), "c", "first");
        eq(epochs.commitmentAt(0, people[1].addr), "d", "last");
        eq(uint256(epochs.commitState(0, people[0].addr)), uint256(IEpochs.CommitState.Committed), "state");
        eq(uint256(epochs.commitState(0, people[2].addr)), uint256(IEpochs.CommitState.None), "none");
        eq(epochs.openCommits(people[0].addr), 1, "open");
    }

    function testRefusesCommits() external {
        toCommit(0);
        vm.prank(people[0].addr);
        vm.expectRevert(IEpochs.EmptyCommitment.selector);
        epochs.commit(0, 0);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotActive.selector, address(this)));
        epochs.commit(0, "c");
        commitAs(0, 0, RESULT, 7, NONCE);
        vm.prank(people[0].addr);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.AlreadyCommitted.selector, 0, people[0].addr));
        epochs.commit(0, "other");
    }

    function testRevealsInTheWindowOnly() external {
        uint256 end = endOf(0);
        toCommit(0);
        commitAs(0, 0, RESULT, 7, NONCE);
        commitAs(1, 0, RESULT, 7, NONCE);
        commitAs(2, 0, RESULT, 7, NONCE);
        vm.warp(end + 89);
        closed(0, end + 90, end + 180);
        revealAs(0, 0, RESULT);
        vm.warp(end + 90);
        vm.expectEmit(address(epochs));
        emit IEpochs.Revealed(0, people[0].addr, RESULT, 7, NONCE, true);
        revealAs(0, 0, RESULT);
        eq(uint256(epochs.commitState(0, people[0].addr)), uint256(IEpochs.CommitState.Revealed), "state");
        eq(epochs.openCommits(people[0].addr), 0, "opened");
        vm.warp(end + 179);
        vm.expectEmit(address(epochs));
        emit IEpochs.Revealed(0, people[1].addr, "other", 7, NONCE, false);
        revealAs(1, 0, "other");
        eq(uint256(epochs.commitState(0, people[1].addr)), uint256(IEpochs.CommitState.Mismatched), "state");
        eq(epochs.openCommits(people[1].addr), 0, "opened, though wrongly");
        vm.warp(end + 180);
        closed(0, end + 90, end + 180);
        revealAs(2, 0, RESULT);
    }

    function testRefusesReveals() external {
        toCommit(0);
        commitAs(0, 0, RESULT, 7, NONCE);
        commitAs(1, 0, RESULT, 7, NONCE);
        toReveal(0);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotCommitted.selector, 0, people[2].addr));
        revealAs(2, 0, RESULT);
        revealAs(0, 0, RESULT);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.AlreadyRevealed.selector, 0, people[0].addr));
        revealAs(0, 0, RESULT);
        // Who has opened wrongly does not get another try.
        revealAs(1, 0, "other");
        vm.expectRevert(abi.encodeWithSelector(IEpochs.AlreadyRevealed.selector, 0, people[1].addr));
        revealAs(1, 0, RESULT);
    }

    function testFuzzACommitmentBindsEveryField(
        uint64 epoch, address sender, bytes32 result, uint256 score, bytes32 nonce, uint256 flip
    ) external {
        bytes32 whole = epochs.commitmentOf(epoch, sender, result, score, nonce);
        unchecked {
            check(whole != epochs.commitmentOf(epoch + 1, sender, result, score, nonce), "epoch");
            address another = address(uint160(sender) ^ uint160(1));
            check(whole != epochs.commitmentOf(epoch, another, result, score, nonce), "sender");
            bytes32 bit = bytes32(uint256(1) << (flip % 256));
            check(whole != epochs.commitmentOf(epoch, sender, result ^ bit, score, nonce), "result");
            check(whole != epochs.commitmentOf(epoch, sender, result, score ^ uint256(bit), nonce), "score");
            check(whole != epochs.commitmentOf(epoch, sender, result, score, nonce ^ bit), "nonce");
        }
        vm.chainId(7);
        check(whole != epochs.commitmentOf(epoch, sender, result, score, nonce), "chain");
    }

    function testTenOpenCommitsAreAll() external {
        for (uint64 epoch; epoch < 10; ++epoch) {
            toCommit(epoch);
            commitAs(0, epoch, RESULT, 7, NONCE);
        }
        eq(epochs.openCommits(people[0].addr), 10, "open");
        toCommit(10);
        vm.prank(people[0].addr);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.TooManyOpenCommits.selector, people[0].addr));
        epochs.commit(10, "c");
        disputes.punishNoReveal(3, people[0].addr);
        eq(epochs.openCommits(people[0].addr), 9, "one is punished");
        eq(uint256(epochs.commitState(3, people[0].addr)), uint256(IEpochs.CommitState.Punished), "state");
        commitAs(1, 10, RESULT, 7, NONCE);
    }

    function testOnlyDisputesPunishes() external {
        toCommit(0);
        commitAs(0, 0, RESULT, 7, NONCE);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotDisputes.selector, address(this)));
        epochs.punishCommit(0, people[0].addr);
        vm.startPrank(address(disputes));
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotCommitted.selector, 0, people[1].addr));
        epochs.punishCommit(0, people[1].addr);
        epochs.punishCommit(0, people[0].addr);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotCommitted.selector, 0, people[0].addr));
        epochs.punishCommit(0, people[0].addr);
        vm.stopPrank();
    }

    // Commit roots.

    function rootAs(address who, uint64 epoch, uint256 count) private {
        vm.prank(who);
        epochs.commitRoot(epoch, "root", count);
    }

    function testTheProposerCommitsTheRoot() external {
        uint256 end = endOf(0);
        address proposer = epochs.proposerOf(0);
        address other = people[people[0].addr == proposer ? 1 : 0].addr;
        vm.warp(end - 1);
        closed(0, end, end + 45);
        rootAs(proposer, 0, 5);
        vm.warp(end + 21);
        vm.expectRevert(
            abi.encodeWithSelector(IEpochs.NotProposer.selector, other, proposer, end + 22)
        );
        rootAs(other, 0, 5);
        eq(epochs.commitRootOf(0), bytes32(0), "none yet");
        vm.expectEmit(address(epochs));
        emit IEpochs.CommitRoot(0, "root", 5, proposer);
        rootAs(proposer, 0, 5);
        eq(epochs.commitRootOf(0), "root", "kept");
        vm.expectRevert(abi.encodeWithSelector(IEpochs.RootAlreadyCommitted.selector, 0));
        rootAs(proposer, 0, 5);
    }

    function testAnyNotaryStandsInForTheProposer() external {
        uint256 end = endOf(0);
        address proposer = epochs.proposerOf(0);
        address other = people[people[0].addr == proposer ? 1 : 0].addr;
        address plain = people[4].addr;
        vm.warp(end + 22);
        vm.expectRevert(
            abi.encodeWithSelector(IEpochs.NotProposer.selector, plain, address(0), end + 22)
        );
        rootAs(plain, 0, 5);
        vm.warp(end + 44);
        rootAs(other, 0, 5);
        toCommit(1);
        eq(epochs.commitRootOf(0), "root", "kept until the next");
        rootAs(epochs.proposerOf(1), 1, 5);
        eq(epochs.commitRootOf(0), bytes32(0), "gone");
        eq(epochs.commitRootOf(1), "root", "the newest");
    }

    function testWhoIsLeftOutCanStillCommit() external {
        uint256 end = endOf(0);
        address proposer = epochs.proposerOf(0);
        vm.warp(end + 45);
        closed(0, end, end + 45);
        rootAs(proposer, 0, 5);
        commitAs(4, 0, RESULT, 7, NONCE);
    }

    function testRefusesCountsOfNoTree() external {
        toCommit(0);
        address proposer = epochs.proposerOf(0);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.TreeTooLarge.selector, 0));
        rootAs(proposer, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.TreeTooLarge.selector, 1 << 32));
        rootAs(proposer, 0, 1 << 32);
        rootAs(proposer, 0, (1 << 32) - 1);
    }
}
