// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Ledger} from "../Ledger.sol";
import {Tree} from "../Tree.sol";

/// Attacks on commitments: copying, withholding, replaying, and play with the windows' borders.
contract CommitmentAttacks is Ledger {
    bytes32 internal constant RESULT = bytes32(uint256(0xa11ce));
    bytes32 internal constant NONCE = bytes32(uint256(7));

    function setUp() external {
        deployLedger(defaultValues());
        populate(6, 5);
        vm.warp(endOf(0) - 100);
    }

    /// A copied commitment binds its author: opened by the copyist it is a mismatch, and slashed.
    function testAttackCommitCopying() external {
        toCommit(0);
        address victim = people[0].addr;
        address thief = people[1].addr;
        commitAs(0, 0, RESULT, 5, NONCE);
        bytes32 seen = epochs.commitmentAt(0, victim);
        vm.prank(thief);
        epochs.commit(0, seen);
        toReveal(0);
        vm.prank(victim);
        epochs.reveal(0, RESULT, 5, NONCE);
        vm.prank(thief);
        epochs.reveal(0, RESULT, 5, NONCE);
        check(epochs.commitState(0, victim) == IEpochs.CommitState.Revealed, "victim's stands");
        check(epochs.commitState(0, thief) == IEpochs.CommitState.Mismatched, "copy does not match");
        uint256 before = stakeOf(thief);
        disputes.punishMismatch(0, thief);
        eq(before - stakeOf(thief), before * 3_000 / 10_000, "slashed 30%");
        eq(stakeOf(victim), before, "victim keeps the bond");
    }

    /// Who commits and does not open loses 10%, once, and not before the window is over.
    function testAttackRevealWithholding() external {
        address node = people[0].addr;
        vm.prank(node);
        nodes.addBond(100 * MAG);
        toCommit(0);
        commitAs(0, 0, RESULT, 5, NONCE);
        toReveal(0);
        vm.expectRevert();
        disputes.punishNoReveal(0, node);
        toSettle(0);
        vm.prank(node);
        expectError(IEpochs.WindowClosed.selector);
        epochs.reveal(0, RESULT, 5, NONCE);
        uint256 before = stakeOf(node);
        address reporter = address(0xbeef);
        vm.prank(reporter);
        disputes.punishNoReveal(0, node);
        uint256 slashed = before - stakeOf(node);
        eq(slashed, before / 10, "slashed 10%");
        eq(token.balanceOf(reporter), slashed / 2, "half to the reporter");
        eq(epochs.openCommits(node), 0, "settled");
        // With another commitment open nothing but the record of it tells that this one is done with.
        toCommit(1);
        commitAs(0, 1, RESULT, 5, NONCE);
        before = stakeOf(node);
        vm.expectRevert();
        disputes.punishNoReveal(0, node);
        eq(stakeOf(node), before, "once");
    }

    /// Eleven commitments that nobody opened or punished: the eleventh is refused.
    function testAttackHoardingOpenCommits() external {
        vm.prank(people[0].addr);
        nodes.addBond(100 * MAG);
        for (uint64 e; e < 10; ++e) {
            toCommit(e);
            commitAs(0, e, RESULT, 5, NONCE);
        }
        toCommit(10);
        bytes32 another = epochs.commitmentOf(10, people[0].addr, RESULT, 5, NONCE);
        vm.prank(people[0].addr);
        expectError(IEpochs.TooManyOpenCommits.selector);
        epochs.commit(10, another);
        disputes.punishNoReveal(3, people[0].addr);
        commitAs(0, 10, RESULT, 5, NONCE);
    }

    /// The same opening gives another commitment in another epoch, on another chain, in another ledger.
    function testAttackReplayedCommitment() external {
        toCommit(0);
        commitAs(0, 0, RESULT, 5, NONCE);
        bytes32 first = epochs.commitmentAt(0, people[0].addr);
        toCommit(1);
        vm.prank(people[0].addr);
        epochs.commit(1, first);
        toReveal(1);
        vm.prank(people[0].addr);
        epochs.reveal(1, RESULT, 5, NONCE);
        check(epochs.commitState(1, people[0].addr) == IEpochs.CommitState.Mismatched, "bound to epoch 0");
        address me = people[0].addr;
        uint256 chain = block.chainid;
        vm.chainId(chain + 1);
        check(epochs.commitmentOf(0, me, RESULT, 5, NONCE) != first, "bound to the chain");
        vm.chainId(chain);
        IEpochs older = epochs;
        uint64 birth = genesis;
        deployLedger(defaultValues());
        check(address(epochs) != address(older) && genesis != birth, "a second ledger");
        check(epochs.commitmentOf(0, me, RESULT, 5, NONCE) != first, "bound to the contract");
    }

    /// Signatures under one settlement are worth nothing for another epoch, chain or ledger.
    function testAttackReplayedSettlement() external {
        bytes32 root = Tree.leafOf(people[0].addr, 1_000 * MAG);
        uint256 total = settle(0, root, 1);
        bytes32 data = sha256(abi.encode("record", uint64(0), root));
        bytes32 digest = epochs.settlementDigest(0, root, total, 1, data);
        uint256 needed = epochs.signaturesNeeded();
        bytes[] memory old = signatures(digest, needed);
        toFinal(0);
        toSettle(1);
        address proposer = epochs.proposerOf(1);
        vm.prank(proposer);
        vm.expectRevert();
        epochs.settle(1, root, total, 1, data, old);
        bytes32 next = epochs.settlementDigest(1, root, total, 1, data);
        check(next != digest, "bound to the epoch");
        vm.chainId(block.chainid + 1);
        check(epochs.settlementDigest(1, root, total, 1, data) != next, "bound to the chain");
        bytes[] memory elsewhere = signatures(next, needed);
        vm.prank(proposer);
        vm.expectRevert();
        epochs.settle(1, root, total, 1, data, elsewhere);
    }

    /// The second at a border belongs to exactly one window; nobody is pushed over it.
    function testAttackEpochBoundary() external {
        (uint64 start, uint64 commitEnd, uint64 revealEnd,,) = epochs.windowsOf(0);
        eq(start, endOf(0), "commits start at the epoch's end");
        bytes32 c = epochs.commitmentOf(0, people[0].addr, RESULT, 5, NONCE);
        vm.warp(start - 1);
        vm.prank(people[0].addr);
        expectError(IEpochs.WindowClosed.selector);
        epochs.commit(0, c);
        vm.warp(start);
        commitAs(0, 0, RESULT, 5, NONCE);
        vm.warp(commitEnd - 1);
        commitAs(1, 0, RESULT, 5, NONCE);
        vm.prank(people[0].addr);
        expectError(IEpochs.WindowClosed.selector);
        epochs.reveal(0, RESULT, 5, NONCE);
        vm.warp(commitEnd);
        c = epochs.commitmentOf(0, people[2].addr, RESULT, 5, NONCE);
        vm.prank(people[2].addr);
        expectError(IEpochs.WindowClosed.selector);
        epochs.commit(0, c);
        vm.prank(people[0].addr);
        epochs.reveal(0, RESULT, 5, NONCE);
        vm.warp(revealEnd - 1);
        vm.prank(people[1].addr);
        epochs.reveal(0, RESULT, 5, NONCE);
        check(epochs.commitState(0, people[1].addr) == IEpochs.CommitState.Revealed, "last second counts");
    }

    /// A proposer that leaves nodes out must do so in the first half: they can still commit themselves.
    function testAttackLeftOutOfCommitRoot() external {
        (uint64 start, uint64 commitEnd,,,) = epochs.windowsOf(0);
        address proposer = epochs.proposerOf(0);
        vm.warp((uint256(start) + commitEnd) / 2);
        vm.prank(proposer);
        expectError(IEpochs.WindowClosed.selector);
        epochs.commitRoot(0, bytes32(uint256(1)), 5);
        vm.warp((uint256(start) + commitEnd) / 2 - 1);
        vm.prank(proposer);
        epochs.commitRoot(0, bytes32(uint256(1)), 5);
        vm.warp(commitEnd - 1);
        commitAs(3, 0, RESULT, 5, NONCE);
    }
}
