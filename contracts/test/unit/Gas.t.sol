// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";
import {Tree} from "../Tree.sol";

/// What the ledger's hot calls cost as whole transactions, against their budgets: whatever the number of
/// nodes. 13 notaries: f = 4, five signatures.
/// forge-config: default.isolate = true
contract GasTest is Ledger {
    uint256 private constant NOTARIES = 13;
    /// A proof of 14 hashes: 16,384 leaves.
    uint256 private constant DEPTH = 14;

    event log_named_uint(string name, uint256 value);

    function setUp() public {
        deployLedger(defaultValues());
        populate(14, NOTARIES);
    }

    function used() private view returns (uint256) {
        return vm.lastCallGas().gasTotalUsed;
    }

    /// Leaf and root of a tree as deep as 16,384 leaves make it.
    function deep(address account, uint256 cumulative)
        private
        pure
        returns (bytes32 root, bytes32[] memory proof)
    {
        proof = new bytes32[](DEPTH);
        root = Tree.leafOf(account, cumulative);
        for (uint256 i; i < DEPTH; ++i) {
            proof[i] = keccak256(abi.encode(account, cumulative, i));
            root = Tree.pair(root, proof[i]);
        }
    }

    function measureSettle(uint64 epoch, bytes32 root, uint256 count) private returns (uint256) {
        toSettle(epoch);
        uint256 total = epochs.poolOf(epoch);
        bytes32 data = sha256(abi.encode("record", epoch, root));
        bytes32 digest = epochs.settlementDigest(epoch, root, total, count, data);
        bytes[] memory list = signatures(digest, epochs.signaturesNeeded());
        eq(list.length, 5, "signatures");
        vm.prank(epochs.proposerOf(epoch));
        epochs.settle(epoch, root, total, count, data, list);
        return used();
    }

    function testSettleAndClaim() public {
        address account = people[13].addr;
        uint256 pool = 1_000 * MAG;
        uint256 worst;
        for (uint64 epoch; epoch < 4; ++epoch) {
            // Half stays unclaimed: claims and mints find no empty purse.
            uint256 owed = (uint256(epoch) + 1) * pool / 2;
            (bytes32 root, bytes32[] memory proof) = deep(account, owed);
            uint256 gas = measureSettle(epoch, root, 16_384);
            emit log_named_uint(string.concat("settle ", vm.toString(epoch)), gas);
            // The first mint fills an empty purse: once in the ledger's life.
            if (epoch > 0 && gas > worst) worst = gas;
            toFinal(epoch);
            epochs.claim(account, owed, proof);
            emit log_named_uint(string.concat("claim ", vm.toString(epoch)), used());
            le(used(), epoch == 0 ? 100_000 : 60_000, "claim");
        }
        le(worst, 150_000, "settle");
    }

    function testFirstClaimOfAnEmptyPurse() public {
        address account = address(0xBEEF);
        (bytes32 root, bytes32[] memory proof) = deep(account, 7 * MAG);
        measureSettle(0, root, 16_384);
        toFinal(0);
        epochs.claim(account, 7 * MAG, proof);
        emit log_named_uint("first claim", used());
        le(used(), 100_000, "first claim");
    }

    function testCommitRoot() public {
        for (uint64 epoch; epoch < 3; ++epoch) {
            toCommit(epoch);
            vm.prank(epochs.proposerOf(epoch));
            epochs.commitRoot(epoch, keccak256("root"), 16_384);
            emit log_named_uint(string.concat("commitRoot ", vm.toString(epoch)), used());
            le(used(), 60_000, "commitRoot");
        }
    }

    function testCommitAndReveal() public {
        toCommit(0);
        commitAs(0, 0, "r", 5, "n");
        emit log_named_uint("commit", used());
        toReveal(0);
        vm.prank(people[0].addr);
        epochs.reveal(0, "r", 5, "n");
        emit log_named_uint("reveal", used());
    }

    function testChallenge() public {
        (bytes32 root,) = deep(address(1), 1);
        measureSettle(0, root, 16_384);
        address proposer = epochs.lastSettlement().proposer;
        bytes32 evidence = sha256("evidence");
        vm.prank(people[13].addr);
        disputes.challenge(Offence.BadRoot, proposer, bytes32(0), evidence);
        emit log_named_uint("challenge", used());
        le(used(), 150_000, "challenge");
    }
}
