// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";
import {Tree} from "../Tree.sol";

/// Attacks on settlements and claims.
contract RootAttacks is Ledger {
    address internal constant ALICE = address(0xa11ce);
    address internal constant BOB = address(0xb0b);

    function setUp() external {
        deployLedger(defaultValues());
        populate(10, 9);
    }

    /// Alice and Bob, by rising amounts.
    function two(uint256 alice, uint256 bob)
        internal
        pure
        returns (address[] memory accounts, uint256[] memory sums)
    {
        accounts = new address[](2);
        sums = new uint256[](2);
        (accounts[0], accounts[1], sums[0], sums[1]) = (ALICE, BOB, alice, bob);
    }

    function settleTwo(uint64 epoch, uint256 alice, uint256 bob) internal returns (bytes32[] memory) {
        (address[] memory accounts, uint256[] memory sums) = two(alice, bob);
        return settleFor(epoch, accounts, sums);
    }

    /// An inner node of the tree is no leaf: 64 bytes that hash to it are an account and an amount only
    /// where leaves are hashed once.
    function testAttackSecondPreimage() external {
        bytes32 left = bytes32(uint256(uint160(BOB)));
        bytes32 right = bytes32(500 * MAG);
        settle(0, Tree.pair(left, right), 2);
        toFinal(0);
        (bytes32 account, bytes32 amount) = left < right ? (left, right) : (right, left);
        expectError(IEpochs.InvalidProof.selector);
        epochs.claim(address(uint160(uint256(account))), uint256(amount), new bytes32[](0));
        eq(token.balanceOf(BOB), 0, "nothing paid");
    }

    /// A root that hands an attacker the rewards that others left unclaimed is stopped in its window,
    /// what was minted for it is burned, and everybody can still claim.
    function testAttackBadRootOnUnclaimedSums() external {
        bytes32[] memory honest = settleTwo(0, 400 * MAG, 600 * MAG);
        uint256 supply = token.totalSupply();
        address attacker = address(0xbad);
        bytes32 stolen = Tree.leafOf(attacker, 2_000 * MAG);
        settle(1, stolen, 1);
        vm.expectRevert();
        epochs.claim(attacker, 2_000 * MAG, new bytes32[](0));
        address accused = epochs.settlementOf(1).proposer;
        address challenger = people[9].addr;
        uint256 id = challengeAs(challenger, Offence.BadRoot, accused, bytes32(uint256(1)));
        toFinal(1);
        check(!epochs.isFinal(1), "held by the dispute");
        vm.expectRevert();
        epochs.claim(attacker, 2_000 * MAG, new bytes32[](0));
        uint256 stake = stakeOf(accused);
        judge(id, true);
        eq(stakeOf(accused), 0, "the proposer's whole stake");
        le(token.totalSupply() + stake / 2, supply + 1, "minted again burned, half the stake besides");
        vm.expectRevert();
        epochs.claim(attacker, 2_000 * MAG, new bytes32[](0));
        claimAs(honest, ALICE, 400 * MAG);
        claimAs(honest, BOB, 600 * MAG);
        eq(token.balanceOf(address(epochs)), 0, "paid to the unit");
    }

    /// What a panel has judged is not settled again, by old signatures or new; a true root is.
    function testAttackBadRootComesBack() external {
        bytes32 root = Tree.leafOf(address(0xbad), 1_000 * MAG);
        settle(0, root, 1);
        address accused = epochs.settlementOf(0).proposer;
        judge(challengeAs(people[9].addr, Offence.BadRoot, accused, bytes32(uint256(0))), true);
        toFallback(0);
        uint256 total = epochs.poolOf(0);
        bytes32 data = "record";
        // Whoever signed is banned only once somebody has asked for it: the same can sign again.
        address[] memory able = new address[](3);
        bytes[] memory list = new bytes[](3);
        bytes32 digest = epochs.settlementDigest(0, root, total, 1, data);
        uint256 found;
        for (uint256 i; found < epochs.signaturesNeeded(); ++i) {
            if (!nodes.isNotary(people[i].addr)) continue;
            able[found] = people[i].addr;
            list[found++] = signatureOf(people[i], digest);
        }
        vm.prank(people[9].addr);
        expectError(IEpochs.RootRejected.selector);
        epochs.settle(0, root, total, 1, data, list);
        digest = epochs.settlementDigest(0, "true", total, 1, data);
        for (uint256 i; i < found; ++i) {
            for (uint256 j; j < 9; ++j) if (people[j].addr == able[i]) list[i] = signatureOf(people[j], digest);
        }
        vm.prank(people[9].addr);
        epochs.settle(0, "true", total, 1, data, list);
        eq(epochs.settlementOf(0).root, bytes32("true"), "the epoch is not lost");
    }

    /// A count that could not be kept, or proven within a call, is refused.
    function testAttackUnboundedTree() external {
        toSettle(0);
        address proposer = epochs.proposerOf(0);
        uint256 total = epochs.poolOf(0);
        uint256 count = uint256(type(uint32).max) + 1;
        bytes32 digest = epochs.settlementDigest(0, "root", total, count, "d");
        bytes[] memory list = signatures(digest, epochs.signaturesNeeded());
        vm.prank(proposer);
        expectError(IEpochs.TreeTooLarge.selector);
        epochs.settle(0, "root", total, count, "d", list);
    }

    /// The notaries who signed a root judged bad lose everything.
    function testAttackFraudulentApproval() external {
        bytes32 root = Tree.leafOf(address(0xbad), 1_000 * MAG);
        settle(0, root, 1);
        address accused = epochs.settlementOf(0).proposer;
        address challenger = people[9].addr;
        vm.expectRevert();
        disputes.punishApprovers(0, root, signers);
        judge(challengeAs(challenger, Offence.BadRoot, accused, bytes32(uint256(0))), true);
        // Naming somebody else does not fit what was signed.
        address guilty = signers[0];
        signers[0] = people[8].addr;
        vm.expectRevert();
        disputes.punishApprovers(0, root, signers);
        signers[0] = guilty;
        disputes.punishApprovers(0, root, signers);
        for (uint256 i; i < signers.length; ++i) eq(stakeOf(signers[i]), 0, "signer slashed whole");
        vm.expectRevert();
        disputes.punishApprovers(0, root, signers);
    }

    /// Cumulative sums pay differences: nobody is paid twice, nobody loses dust.
    function testAttackFuzzRoundingAndDust(uint256 first, uint256 second, uint256 third) external {
        uint256 pool = 1_000 * MAG;
        first = bound(first, 1, pool - 1);
        second = bound(second, 0, pool);
        third = bound(third, 1, pool - 1);
        bytes32[] memory tree = settleTwo(0, first, pool - first);
        claimAs(tree, ALICE, first);
        expectError(IEpochs.NothingToClaim.selector);
        claimAs(tree, ALICE, first);
        tree = settleTwo(1, first + second, 2 * pool - first - second);
        tree = settleTwo(2, first + second + third, 3 * pool - first - second - third);
        claimAs(tree, ALICE, first + second + third);
        eq(token.balanceOf(ALICE), first + second + third, "Alice to the unit");
        claimAs(tree, BOB, 3 * pool - first - second - third);
        eq(token.balanceOf(BOB), 3 * pool - first - second - third, "Bob to the unit");
        eq(token.balanceOf(address(epochs)), 0, "no dust left");
        eq(token.totalSupply(), SUPPLY + 3 * pool, "nothing but the pools minted");
    }

    /// A settlement mints the pool: neither more nor less can be written into it.
    function testAttackInventedTotal() external {
        toSettle(0);
        address proposer = epochs.proposerOf(0);
        uint256 pool = epochs.poolOf(0);
        bytes32 root = Tree.leafOf(ALICE, pool + 1);
        bytes32 digest = epochs.settlementDigest(0, root, pool + 1, 1, "d");
        bytes[] memory list = signatures(digest, epochs.signaturesNeeded());
        vm.prank(proposer);
        expectError(IEpochs.WrongTotal.selector);
        epochs.settle(0, root, pool + 1, 1, "d", list);
    }

    /// An absent proposer delays by its own minute; a present one cannot be pushed aside.
    function testAttackProposerAbsent() external {
        toSettle(0);
        address proposer = epochs.proposerOf(0);
        address other = people[people[0].addr == proposer ? 1 : 0].addr;
        bytes32 root = Tree.leafOf(ALICE, 1_000 * MAG);
        uint256 total = epochs.poolOf(0);
        bytes32 digest = epochs.settlementDigest(0, root, total, 1, "d");
        bytes[] memory list = signatures(digest, epochs.signaturesNeeded());
        vm.prank(other);
        expectError(IEpochs.NotProposer.selector);
        epochs.settle(0, root, total, 1, "d", list);
        toFallback(0);
        vm.prank(address(0xdead));
        expectError(IEpochs.NotActive.selector);
        epochs.settle(0, root, total, 1, "d", list);
        vm.prank(other);
        epochs.settle(0, root, total, 1, "d", list);
        eq(epochs.settlementOf(0).proposer, other, "settled by the fallback");
    }

    /// Once final, a settlement stays: no late challenge, no second settlement, no way back.
    function testAttackUndoFinality() external {
        settleTwo(0, 400 * MAG, 600 * MAG);
        address accused = epochs.settlementOf(0).proposer;
        address challenger = people[people[0].addr == accused ? 1 : 0].addr;
        vm.prank(challenger);
        expectError(IEpochs.NotChallengeable.selector);
        disputes.challenge(Offence.BadRoot, accused, bytes32(uint256(0)), "e");
        uint256 total = epochs.poolOf(0);
        bytes32 digest = epochs.settlementDigest(0, "other", total, 1, "d");
        bytes[] memory list = signatures(digest, epochs.signaturesNeeded());
        vm.prank(challenger);
        vm.expectRevert();
        epochs.settle(0, "other", total, 1, "d", list);
        vm.expectRevert(abi.encodeWithSelector(IEpochs.NotDisputes.selector, address(this)));
        epochs.release(0, true, true);
        check(epochs.isFinal(0), "final");
    }

    /// Skipped epochs are not minted in a burst, and a day mints no more than its cap.
    function testAttackBurstOfSkippedEpochs() external {
        settleTwo(0, 400 * MAG, 600 * MAG);
        uint256 supply = token.totalSupply();
        toSettle(50);
        le(epochs.poolOf(50), 1_000 * MAG, "one pool after fifty skipped epochs");
        settle(50, Tree.leafOf(ALICE, 2_000 * MAG), 1);
        eq(token.totalSupply(), supply + 1_000 * MAG, "minted once");
        address proposer = epochs.proposerOf(51);
        vm.prank(proposer);
        vm.expectRevert();
        epochs.settle(20, "root", 1_000 * MAG, 1, "d", new bytes[](3));
    }

    /// The verdict needs a dispute: without one nobody is judged.
    function testAttackVerdictWithoutCase() external {
        expectError(IDisputes.UnknownDispute.selector);
        disputes.resolve(77);
    }
}
