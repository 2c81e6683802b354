// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Ledger} from "../Ledger.sol";

/// Settlements: their order, their signatures, their rejection.
contract EpochsTest is Ledger {
    uint256 private constant POOL = 1_000 * MAG;
    bytes32 private constant DATA = "data";

    function setUp() external {
        deployLedger(defaultValues());
        populate(6, 5);
    }

    /// With valid signatures, by the proposer unless another sender is given.
    function settleRaw(address sender, uint64 epoch, bytes32 root, uint256 total, uint256 count) private {
        bytes[] memory list = signed(epoch, root, total, count);
        vm.prank(sender);
        epochs.settle(epoch, root, total, count, DATA, list);
    }

    function signed(uint64 epoch, bytes32 root, uint256 total, uint256 count)
        private
        view
        returns (bytes[] memory)
    {
        bytes32 digest = epochs.settlementDigest(epoch, root, total, count, DATA);
        return signatures(digest, epochs.signaturesNeeded());
    }

    /// Expects that settling by the proposer fails with this error.
    function refuses(bytes memory error, uint64 epoch, bytes32 root, uint256 total, uint256 count) private {
        bytes[] memory list = signed(epoch, root, total, count);
        address proposer = epochs.proposerOf(epoch);
        vm.prank(proposer);
        vm.expectRevert(error);
        epochs.settle(epoch, root, total, count, DATA, list);
    }

    function refusesSignatures(bytes memory error, bytes[] memory list) private {
        address proposer = epochs.proposerOf(0);
        vm.prank(proposer);
        vm.expectRevert(error);
        epochs.settle(0, "root", POOL, 5, DATA, list);
    }

    function holdNow(uint64 epoch) private {
        vm.prank(address(disputes));
        epochs.hold(epoch);
    }

    function releaseNow(uint64 epoch, bool reject, bool bar) private {
        vm.prank(address(disputes));
        epochs.release(epoch, reject, bar);
    }

    // Settling.

    function testSettles() external {
        toSettle(0);
        address proposer = epochs.proposerOf(0);
        bytes[] memory list = signed(0, "root", POOL, 5);
        eq(list.length, 2, "f + 1 of 5 notaries");
        address[] memory by = new address[](2);
        (by[0], by[1]) = (people[0].addr, people[1].addr);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(epochs));
        emit IEpochs.Settled(0, "root", POOL, 5, DATA, proposer, by);
        vm.prank(proposer);
        epochs.settle(0, "root", POOL, 5, DATA, list);
        IEpochs.Settlement memory last = epochs.lastSettlement();
        eq(last.epoch, 0, "epoch");
        eq(last.settledAt, block.timestamp, "time");
        eq(last.disputes, 0, "disputes");
        check(!last.rejected, "not rejected");
        eq(last.proposer, proposer, "proposer");
        eq(last.root, "root", "root");
        eq(last.total, POOL, "total");
        eq(bytes32(last.signersTag), bytes32(bytes16(keccak256(abi.encode(by)))), "signers");
        eq(keccak256(abi.encode(epochs.settlementOf(0))), keccak256(abi.encode(last)), "by its epoch");
        eq(token.totalSupply() - supply, POOL, "minted");
        eq(token.balanceOf(address(epochs)), POOL, "to the contract");
        eq(epochs.cumulativeTotal(), POOL, "sum");
    }

    function testNothingIsSettledAtFirst() external view {
        eq(keccak256(abi.encode(epochs.lastSettlement())), keccak256(new bytes(256)), "no last");
        eq(keccak256(abi.encode(epochs.settlementOf(0))), keccak256(new bytes(256)), "none of epoch 0");
        check(!epochs.isFinal(0), "nothing is final");
        (bytes32 root, uint64 epoch) = epochs.finalRoot();
        eq(root, bytes32(0), "no root");
        eq(epoch, 0, "no epoch");
        eq(epochs.cumulativeTotal(), 0, "no sum");
        eq(epochs.commitRootOf(0), bytes32(0), "no commit root");
        eq(epochs.claimed(address(this)), 0, "nothing claimed");
    }

    function testSettlesInTheWindowOnly() external {
        uint256 end = endOf(0);
        bytes memory closed =
            abi.encodeWithSelector(IEpochs.WindowClosed.selector, 0, end + 180, end + 3_600);
        vm.warp(end + 179);
        refuses(closed, 0, "root", POOL, 5);
        vm.warp(end + 3_600);
        eq(epochs.poolOf(0), 0, "skipped");
        refuses(closed, 0, "root", POOL, 5);
        vm.warp(end + 3_599);
        eq(epochs.poolOf(0), POOL, "not yet");
        settleRaw(people[5].addr, 0, "root", POOL, 5);
    }

    function testTheProposerGoesFirst() external {
        toSettle(0);
        address proposer = epochs.proposerOf(0);
        address other = people[people[0].addr == proposer ? 1 : 0].addr;
        uint256 until = endOf(0) + 240;
        vm.warp(until - 1);
        bytes[] memory list = signed(0, "root", POOL, 5);
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotProposer.selector, other, proposer, until));
        epochs.settle(0, "root", POOL, 5, DATA, list);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotActive.selector, address(this)));
        epochs.settle(0, "root", POOL, 5, DATA, list);
        vm.prank(people[5].addr);
        epochs.settle(0, "root", POOL, 5, DATA, list);
        eq(epochs.lastSettlement().proposer, people[5].addr, "not a notary, but bonded");
    }

    function testTotalsAreWhatThePoolIs() external {
        toSettle(0);
        refuses(abi.encodeWithSelector(IEpochs.WrongTotal.selector, POOL - 1, POOL), 0, "r", POOL - 1, 5);
        refuses(abi.encodeWithSelector(IEpochs.WrongTotal.selector, POOL + 1, POOL), 0, "r", POOL + 1, 5);
        refuses(abi.encodeWithSelector(IEpochs.WrongTotal.selector, POOL, 0), 0, 0, POOL, 0);
        bytes memory tooLarge = abi.encodeWithSelector(IEpochs.TreeTooLarge.selector, 1 << 32);
        refuses(tooLarge, 0, "r", POOL, 1 << 32);
        settleRaw(epochs.proposerOf(0), 0, "r", POOL, (1 << 32) - 1);
    }

    function testAnEmptyEpochChangesNothing() external {
        toSettle(0);
        refuses(abi.encodeWithSelector(IEpochs.RootChanged.selector, bytes32("r"), 0), 0, "r", 0, 0);
        settleRaw(epochs.proposerOf(0), 0, 0, 0, 0);
        eq(token.balanceOf(address(epochs)), 0, "nothing minted");
        settle(1, "root", 3);
        toSettle(2);
        bytes32 root = "root";
        refuses(abi.encodeWithSelector(IEpochs.RootChanged.selector, bytes32(0), root), 2, 0, 0, 0);
        settleRaw(epochs.proposerOf(2), 2, root, 0, 0);
        eq(epochs.cumulativeTotal(), POOL, "one pool");
        // Rejecting it burns nothing.
        holdNow(2);
        releaseNow(2, true, false);
        eq(token.balanceOf(address(epochs)), POOL, "still there");
    }

    function testOneSettlementAfterTheOther() external {
        settle(0, "a", 5);
        bytes memory waits = abi.encodeWithSelector(IEpochs.OutOfOrder.selector, 1, 1);
        refuses(abi.encodeWithSelector(IEpochs.OutOfOrder.selector, 0, 0), 0, "b", POOL, 5);
        settle(1, "b", 5);
        refuses(waits, 1, "c", POOL, 5);
        toFinal(1);
        // Final now: neither again, nor what lies before.
        refuses(waits, 1, "c", POOL, 5);
        refuses(abi.encodeWithSelector(IEpochs.OutOfOrder.selector, 0, 1), 0, "c", POOL, 5);
        eq(epochs.poolOf(0), 0, "passed over");
        eq(epochs.settlementOf(0).root, "a", "the one before is kept");
        settle(2, "c", 5);
        eq(epochs.settlementOf(0).settledAt, 0, "older ones are not");
        check(!epochs.isFinal(0), "known by its events only");
    }

    function testTheNextWaitsForTheLast() external {
        // Both windows are open; the first is not final yet.
        vm.warp(endOf(1) + 180);
        settleRaw(people[5].addr, 0, "a", POOL, 5);
        refuses(abi.encodeWithSelector(IEpochs.OutOfOrder.selector, 1, 0), 1, "b", POOL, 5);
        vm.warp(block.timestamp + 119);
        check(!epochs.isFinal(0), "one second left");
        refuses(abi.encodeWithSelector(IEpochs.OutOfOrder.selector, 1, 0), 1, "b", POOL, 5);
        vm.warp(block.timestamp + 1);
        check(epochs.isFinal(0), "final");
        settleRaw(people[5].addr, 1, "b", POOL, 5);
        check(epochs.isFinal(0), "the older one stays final");
        check(!epochs.isFinal(1), "the newer one is not yet");
        toFinal(1);
        check(epochs.isFinal(0) && epochs.isFinal(1) && !epochs.isFinal(2), "both");
    }

    // Signatures.

    function testSignaturesOfNotariesInOrder() external {
        toSettle(0);
        bytes32 digest = epochs.settlementDigest(0, "root", POOL, 5, DATA);
        bytes[] memory list = signatures(digest, 1);
        refusesSignatures(abi.encodeWithSelector(IEpochs.TooFewSignatures.selector, 1, 2), list);
        list = new bytes[](0);
        refusesSignatures(abi.encodeWithSelector(IEpochs.TooFewSignatures.selector, 0, 2), list);
        list = new bytes[](2);
        (list[0], list[1]) = (signatureOf(people[1], digest), signatureOf(people[0], digest));
        refusesSignatures(abi.encodeWithSelector(IEpochs.SignersNotSorted.selector), list);
        list[0] = list[1];
        refusesSignatures(abi.encodeWithSelector(IEpochs.SignersNotSorted.selector), list);
        list[0] = "nonsense";
        refusesSignatures(abi.encodeWithSelector(IEpochs.SignersNotSorted.selector), list);
        (list[0], list[1]) = (signatureOf(people[0], digest), signatureOf(people[5], digest));
        refusesSignatures(
            abi.encodeWithSelector(IEpochs.SignatureNotOfNotary.selector, people[5].addr), list
        );
        list[1] = signatureOf(people[4], digest);
        vm.prank(epochs.proposerOf(0));
        epochs.settle(0, "root", POOL, 5, DATA, list);
    }

    function testFurtherSignaturesAreIgnored() external {
        toSettle(0);
        bytes32 digest = epochs.settlementDigest(0, "root", POOL, 5, DATA);
        bytes[] memory list = new bytes[](20);
        for (uint256 i; i < 6; ++i) list[i] = signatureOf(people[i], digest);
        for (uint256 i = 6; i < 20; ++i) list[i] = list[0];
        // The seventh is out of order, and within what is read at all.
        refusesSignatures(abi.encodeWithSelector(IEpochs.SignersNotSorted.selector), list);
        assembly {
            mstore(list, 6)
        }
        vm.prank(epochs.proposerOf(0));
        epochs.settle(0, "root", POOL, 5, DATA, list);
        address[] memory by = new address[](2);
        (by[0], by[1]) = (people[0].addr, people[1].addr);
        bytes32 tag = bytes16(keccak256(abi.encode(by)));
        eq(bytes32(epochs.lastSettlement().signersTag), tag, "those that were needed");
    }

    /// The digest as any wallet computes it.
    function testDigest() external {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Magnet Epochs"),
                keccak256("1"),
                block.chainid,
                address(epochs)
            )
        );
        bytes32 kind = keccak256(
            "Settlement(uint64 epoch,bytes32 parent,bytes32 root,uint256 total,uint256 count,bytes32 dataHash)"
        );
        bytes32 body = keccak256(abi.encode(kind, 3, bytes32(0), bytes32("r"), 4, 5, DATA));
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", domain, body));
        eq(epochs.settlementDigest(3, "r", 4, 5, DATA), digest, "before the first settlement");
        settle(0, "root", 5);
        body = keccak256(abi.encode(kind, 3, bytes32("root"), bytes32("r"), 4, 5, DATA));
        digest = keccak256(abi.encodePacked("\x19\x01", domain, body));
        eq(epochs.settlementDigest(3, "r", 4, 5, DATA), digest, "on the pending one");
        holdNow(0);
        eq(epochs.settlementDigest(3, "r", 4, 5, DATA), digest, "on the disputed one");
        releaseNow(0, true, false);
        body = keccak256(abi.encode(kind, 3, bytes32(0), bytes32("r"), 4, 5, DATA));
        digest = keccak256(abi.encodePacked("\x19\x01", domain, body));
        eq(epochs.settlementDigest(3, "r", 4, 5, DATA), digest, "not on a rejected one");
    }

    /// Signed on top of a root that was then rejected, a settlement is worth nothing on another.
    function testSignaturesFallWithTheirParent() external {
        settle(0, "a", 5);
        bytes[] memory list = signed(1, "b", POOL, 5);
        holdNow(0);
        releaseNow(0, true, true);
        vm.warp(endOf(1) + 240);
        // Whoever these recover to now, it is not two notaries.
        vm.prank(people[5].addr);
        vm.expectRevert();
        epochs.settle(1, "b", POOL, 5, DATA, list);
        settleRaw(people[5].addr, 1, "b", POOL, 5);
    }

    // Holding and rejecting.

    function testADisputeHolds() external {
        settle(0, "a", 5);
        vm.prank(address(disputes));
        (address proposer, bool held) = epochs.hold(0);
        eq(proposer, epochs.lastSettlement().proposer, "accused");
        check(!held, "the first");
        vm.prank(address(disputes));
        (, held) = epochs.hold(0);
        check(held, "not the first");
        eq(epochs.lastSettlement().disputes, 1, "one dispute");
        vm.warp(block.timestamp + 1_000);
        check(!epochs.isFinal(0), "held");
        refuses(abi.encodeWithSelector(IEpochs.OutOfOrder.selector, 1, 0), 1, "b", POOL, 5);
        releaseNow(0, false, false);
        check(epochs.isFinal(0), "its time was over long ago");
        eq(epochs.lastSettlement().disputes, 0, "none");
        (bytes32 root,) = epochs.finalRoot();
        eq(root, "a", "upheld");
    }

    function testADismissedChallengeLeavesTheRestOfTheWindow() external {
        settle(0, "a", 5);
        holdNow(0);
        releaseNow(0, false, false);
        check(!epochs.isFinal(0), "the window is open still");
        holdNow(0);
        releaseNow(0, false, false);
        vm.warp(block.timestamp + 120);
        check(epochs.isFinal(0), "over");
    }

    function testWhatCannotBeHeld() external {
        bytes memory error = abi.encodeWithSelector(IEpochs.NotChallengeable.selector, 0);
        vm.startPrank(address(disputes));
        vm.expectRevert(error);
        epochs.hold(0);
        vm.expectRevert(error);
        epochs.release(0, true, true);
        vm.stopPrank();
        settle(0, "a", 5);
        vm.startPrank(address(disputes));
        vm.expectRevert(error);
        epochs.release(0, true, true);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotChallengeable.selector, 1));
        epochs.hold(1);
        epochs.hold(0);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotChallengeable.selector, 1));
        epochs.release(1, true, true);
        epochs.release(0, true, false);
        vm.expectRevert(error);
        epochs.hold(0);
        vm.stopPrank();
        settle(1, "b", 5);
        vm.warp(block.timestamp + 120);
        vm.prank(address(disputes));
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotChallengeable.selector, 1));
        epochs.hold(1);
        bytes memory stranger = abi.encodeWithSelector(IEpochs.NotDisputes.selector, address(this));
        vm.expectRevert(stranger);
        epochs.hold(1);
        vm.expectRevert(stranger);
        epochs.release(1, true, true);
    }

    function testARejectedRootIsAsIfItHadNeverBeen() external {
        settle(0, "a", 5);
        toFinal(0);
        // Epoch 1 passed over, 2 settled and rejected.
        settle(2, "c", 5);
        uint256 supply = token.totalSupply();
        holdNow(2);
        vm.expectEmit(address(epochs));
        emit IEpochs.Rejected(2, "c");
        releaseNow(2, true, true);
        eq(supply - token.totalSupply(), POOL, "burned");
        check(epochs.lastSettlement().rejected, "rejected");
        check(!epochs.isFinal(2), "never final");
        eq(epochs.cumulativeTotal(), POOL, "counts no more");
        (bytes32 root, uint64 epoch) = epochs.finalRoot();
        eq(root, "a", "claims as before");
        eq(epoch, 0, "of the epoch before");
        bytes memory barred = abi.encodeWithSelector(IEpochs.RootRejected.selector, 2, bytes32("c"));
        refuses(barred, 2, "c", POOL, 5);
        eq(epochs.poolOf(1), POOL, "1 can be settled after all");
        settleRaw(people[5].addr, 1, "b", POOL, 5);
        toFinal(1);
        // Not even after another root was settled in between.
        refuses(barred, 2, "c", POOL, 5);
        settleRaw(people[5].addr, 2, "d", POOL, 5);
        eq(epochs.cumulativeTotal(), 3 * POOL, "three pools");
        // Another epoch's root is another matter.
        toFinal(2);
        settle(3, "c", 5);
    }

    /// In every epoch, the first one and neighbours among them.
    function testBadRootsOfNeighboursAreBarred() external {
        for (uint64 epoch; epoch < 2; ++epoch) {
            settle(epoch, "bad", 5);
            holdNow(epoch);
            releaseNow(epoch, true, true);
            refuses(
                abi.encodeWithSelector(IEpochs.RootRejected.selector, epoch, bytes32("bad")),
                epoch, "bad", POOL, 5
            );
        }
    }

    function testAnUndecidedRootMayComeAgain() external {
        settle(0, "a", 5);
        holdNow(0);
        releaseNow(0, true, false);
        settleRaw(epochs.proposerOf(0), 0, "a", POOL, 5);
        eq(token.balanceOf(address(epochs)), POOL, "minted once");
    }

    // Draws.

    function testTheProposerFollowsTheFinalRoot() external {
        address before = epochs.proposerOf(9);
        bytes32 seed = epochs.revealSeed();
        settle(0, "a", 1);
        eq(epochs.proposerOf(9), before, "pending roots draw nobody");
        eq(epochs.revealSeed(), seed, "nor panels");
        toFinal(0);
        eq(epochs.proposerOf(9), nodes.drawNotary(keccak256(abi.encode(bytes32("a"), uint64(9)))), "drawn");
        check(epochs.revealSeed() != seed, "a new seed");
    }

    function testRevealsMoveTheSeed() external {
        toCommit(0);
        commitAs(0, 0, "r", 7, "n");
        toReveal(0);
        uint256 state = vm.snapshotState();
        settle(0, "a", 1);
        toFinal(0);
        bytes32 without = epochs.revealSeed();
        vm.revertToState(state);
        vm.prank(people[0].addr);
        epochs.reveal(0, "r", 7, "n");
        settle(0, "a", 1);
        toFinal(0);
        check(epochs.revealSeed() != without, "moved");
    }

    function testSignaturesNeeded() external {
        delete people;
        deployLedger(defaultValues());
        eq(epochs.signaturesNeeded(), 1, "of nobody");
        uint8[31] memory needed = [
            1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11
        ];
        populate(31, 0);
        for (uint256 i; i < 31; ++i) {
            vm.prank(people[i].addr);
            nodes.takeSeat(100 * MAG);
            eq(epochs.signaturesNeeded(), needed[i], "f + 1");
        }
    }

    /// Nobody is drawn, so any active node may try at once; but nobody's signature counts.
    function testANetworkWithoutNotariesSettlesNothing() external {
        delete people;
        deployLedger(defaultValues());
        populate(2, 0);
        toSettle(0);
        eq(epochs.proposerOf(0), address(0), "nobody");
        bytes[] memory list = signed(0, "a", POOL, 1);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotActive.selector, address(this)));
        epochs.settle(0, "a", POOL, 1, DATA, list);
        vm.prank(people[0].addr);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.SignatureNotOfNotary.selector, people[0].addr));
        epochs.settle(0, "a", POOL, 1, DATA, list);
    }
}
