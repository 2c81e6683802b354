// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Base} from "./Base.sol";
import {Tree} from "./Tree.sol";

contract TreeTest is Base {
    /// Every leaf of a tree of any size proves itself, by OpenZeppelin's verifier.
    function testFuzzEveryLeafProvesItself(uint256 size, uint256 seed) external pure {
        size = bound(size, 1, 40);
        address[] memory accounts = new address[](size);
        uint256[] memory amounts = new uint256[](size);
        for (uint256 i; i < size; ++i) {
            accounts[i] = address(uint160(uint256(keccak256(abi.encode(seed, i)))));
            amounts[i] = uint256(keccak256(abi.encode(i, seed)));
        }
        bytes32[] memory tree = Tree.build(accounts, amounts);
        for (uint256 i; i < size; ++i) {
            bytes32 leaf = Tree.leafOf(accounts[i], amounts[i]);
            check(MerkleProof.verify(Tree.proof(tree, leaf), tree[0], leaf), "proof");
        }
        bytes32 stranger = Tree.leafOf(accounts[0], amounts[0] ^ 1);
        bytes32[] memory path = Tree.proof(tree, Tree.leafOf(accounts[0], amounts[0]));
        check(!MerkleProof.verify(path, tree[0], stranger), "another amount proves nothing");
    }
}
