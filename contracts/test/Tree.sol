// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The tree of cumulative rewards as any node builds it: leaves by rising hash, the heap of 2n - 1 words
/// filled from its end (the layout of OpenZeppelin's StandardMerkleTree), pairs hashed in sorted order.
library Tree {
    function leafOf(address account, uint256 cumulative) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function build(address[] memory accounts, uint256[] memory cumulative)
        internal
        pure
        returns (bytes32[] memory tree)
    {
        uint256 n = accounts.length;
        bytes32[] memory leaves = new bytes32[](n);
        for (uint256 i; i < n; ++i) leaves[i] = leafOf(accounts[i], cumulative[i]);
        sort(leaves, 0, int256(n) - 1);
        tree = new bytes32[](2 * n - 1);
        for (uint256 i; i < n; ++i) tree[2 * n - 2 - i] = leaves[i];
        for (uint256 i = n - 1; i > 0; --i) tree[i - 1] = pair(tree[2 * i - 1], tree[2 * i]);
    }

    function proof(bytes32[] memory tree, bytes32 leaf) internal pure returns (bytes32[] memory path) {
        uint256 spot = (tree.length - 1) / 2;
        while (tree[spot] != leaf) ++spot;
        uint256 length;
        for (uint256 i = spot; i > 0; i = (i - 1) / 2) ++length;
        path = new bytes32[](length);
        for (uint256 i; spot > 0; spot = (spot - 1) / 2) path[i++] = tree[spot % 2 == 0 ? spot - 1 : spot + 1];
    }

    function sort(bytes32[] memory words, int256 low, int256 high) private pure {
        if (low >= high) return;
        bytes32 middle = words[uint256((low + high) / 2)];
        int256 i = low;
        int256 j = high;
        while (i <= j) {
            while (words[uint256(i)] < middle) ++i;
            while (words[uint256(j)] > middle) --j;
            if (i > j) break;
            (words[uint256(i)], words[uint256(j)]) = (words[uint256(j)], words[uint256(i)]);
            ++i;
            --j;
        }
        sort(words, low, j);
        sort(words, i, high);
    }
}
