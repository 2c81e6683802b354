// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";
import {Tree} from "../Tree.sol";

/// What is minted, and what of it is paid out.
contract RewardsTest is Ledger {
    uint256 private constant POOL = 1_000 * MAG;

    function setUp() external {
        deployLedger(defaultValues());
        populate(6, 5);
    }

    function holdNow(uint64 epoch) private {
        vm.prank(address(disputes));
        epochs.hold(epoch);
    }

    function releaseNow(uint64 epoch, bool reject, bool bar) private {
        vm.prank(address(disputes));
        epochs.release(epoch, reject, bar);
    }

    // Emission.

    function deployWith(uint256 pool, uint256 daily, uint256 annual) private {
        Values memory v = defaultValues();
        v.epochPool = uint96(pool);
        v.dailyCap = uint96(daily);
        v.annualCap = uint96(annual);
        delete people;
        deployLedger(v);
        populate(4, 4);
    }

    function testTheDailyCap() external {
        deployWith(400 * MAG, 1_000 * MAG, 10_000 * MAG);
        // To an epoch that begins a day.
        uint64 first = uint64((86_400 - genesis % 86_400) / EPOCH);
        eq(settle(first, "a", 1), 400 * MAG, "first");
        eq(settle(first + 1, "b", 1), 400 * MAG, "second");
        eq(settle(first + 2, "c", 1), 200 * MAG, "what is left");
        eq(settle(first + 3, "d", 1), 0, "nothing left");
        // A rejection gives it back.
        eq(settle(first + 4, "e", 1), 0, "still nothing");
        holdNow(first + 4);
        releaseNow(first + 4, true, false);
        eq(settle(first + 144, "f", 1), 400 * MAG, "the next day");
        holdNow(first + 144);
        releaseNow(first + 144, true, false);
        eq(settle(first + 145, "g", 1), 400 * MAG, "given back");
        eq(settle(first + 146, "h", 1), 400 * MAG, "given back");
        eq(settle(first + 147, "i", 1), 200 * MAG, "given back");
    }

    function testTheAnnualCap() external {
        deployWith(400 * MAG, 400 * MAG, 1_000 * MAG);
        uint64 day = 144;
        uint256 year = 365 days;
        // To a day that begins a year.
        uint64 first = uint64((year - genesis % year) / EPOCH);
        eq(settle(first, "a", 1), 400 * MAG, "first day");
        eq(settle(first + day, "b", 1), 400 * MAG, "second");
        eq(settle(first + 2 * day, "c", 1), 200 * MAG, "third");
        eq(settle(first + 3 * day, "d", 1), 0, "fourth");
        eq(settle(first + 364 * day, "e", 1), 0, "last of the year");
        eq(settle(first + 365 * day, "f", 1), 400 * MAG, "next year");
    }

    function testACapBelowWhatWasMintedLeavesNothing() external {
        settle(0, "a", 1);
        toFinal(0);
        Values memory v = defaultValues();
        v.epochPool = uint96(MAG);
        v.dailyCap = uint96(MAG);
        vm.prank(timelock);
        params.schedule(v);
        toSettle(2);
        eq(epochs.poolOf(2), 0, "more than today's cap is out already");
    }

    function testPoolsAreWholeGrains() external {
        deployWith(400 * MAG + 1, 1_000 * MAG, 10_000 * MAG);
        eq(settle(0, "a", 1), 400 * MAG, "rounded down");
    }

    // Claims.

    /// A false root became final and has eaten into the next mint: the next case ends all the same.
    function testRejectsThoughThePurseIsShort() external {
        address thief = address(0xBAD);
        settle(0, Tree.leafOf(thief, POOL + 300 * MAG), 1);
        toFinal(0);
        settle(1, "b", 5);
        epochs.claim(thief, POOL + 300 * MAG, new bytes32[](0));
        holdNow(1);
        releaseNow(1, true, true);
        eq(token.balanceOf(address(epochs)), 0, "what was left is burned");
    }

    function testClaims() external {
        address[] memory who = new address[](3);
        uint256[] memory sums = new uint256[](3);
        for (uint256 i; i < 3; ++i) (who[i], sums[i]) = (people[i].addr, (i + 1) * 100 * MAG);
        vm.expectRevert(IEpochs.InvalidProof.selector);
        epochs.claim(who[0], 0, new bytes32[](0));
        bytes32[] memory tree = Tree.build(who, sums);
        settle(0, tree[0], 3);
        bytes32[] memory proof = Tree.proof(tree, Tree.leafOf(who[1], sums[1]));
        vm.expectRevert(IEpochs.InvalidProof.selector);
        epochs.claim(who[1], sums[1], proof);
        toFinal(0);
        vm.expectRevert(IEpochs.InvalidProof.selector);
        epochs.claim(who[1], sums[1] + 1, proof);
        vm.expectRevert(IEpochs.InvalidProof.selector);
        epochs.claim(who[0], sums[1], proof);
        uint256 before = token.balanceOf(who[1]);
        vm.expectEmit(address(epochs));
        emit IEpochs.Claimed(who[1], sums[1], sums[1]);
        epochs.claim(who[1], sums[1], proof);
        eq(token.balanceOf(who[1]) - before, sums[1], "paid to the account");
        eq(epochs.claimed(who[1]), sums[1], "remembered");
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NothingToClaim.selector, who[1], sums[1]));
        epochs.claim(who[1], sums[1], proof);
        // The next root pays the difference, and the old one nothing more.
        sums[1] += 50 * MAG;
        bytes32[] memory next = settleFor(1, who, sums);
        claimAs(next, who[1], sums[1]);
        eq(token.balanceOf(who[1]) - before, sums[1], "cumulative");
        vm.expectRevert(IEpochs.InvalidProof.selector);
        epochs.claim(who[0], sums[0], Tree.proof(tree, Tree.leafOf(who[0], sums[0])));
        claimAs(next, who[0], sums[0]);
    }

    function testFuzzClaimsNeverExceed(uint256 seed, uint8 rounds) external {
        address[] memory who = new address[](4);
        uint256[] memory sums = new uint256[](4);
        for (uint256 i; i < 4; ++i) who[i] = address(uint160(0x1000 + i));
        uint256 paid;
        for (uint64 epoch; epoch < bound(rounds, 1, 6); ++epoch) {
            uint256 left = POOL;
            for (uint256 i; i < 4; ++i) {
                uint256 share = i == 3 ? left : uint256(keccak256(abi.encode(seed, epoch, i))) % (left + 1);
                sums[i] += share;
                left -= share;
            }
            bytes32[] memory tree = settleFor(epoch, who, sums);
            for (uint256 i; i < 4; ++i) {
                if (uint256(keccak256(abi.encode(seed, epoch, "claims", i))) % 2 == 0) continue;
                uint256 due = sums[i] - epochs.claimed(who[i]);
                if (due == 0) continue;
                claimAs(tree, who[i], sums[i]);
                paid += due;
                eq(token.balanceOf(who[i]), sums[i], "all that is due");
            }
            uint256 minted = POOL * (uint256(epoch) + 1);
            eq(token.balanceOf(address(epochs)), minted - paid, "the rest is there");
            eq(epochs.cumulativeTotal(), minted, "sum");
        }
    }
}
