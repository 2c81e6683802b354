// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Lean} from "../../src/Lean.sol";
import {Base} from "../Base.sol";
import {Vm} from "../Vm.sol";

contract LeanHarness {
    function rootOf(bytes32[] calldata proof, bytes32 leaf) external pure returns (bytes32, bytes32) {
        return (Lean.rootOf(proof, leaf), MerkleProof.processProofCalldata(proof, leaf));
    }

    function signerOf(bytes32 digest, bytes calldata signature) external pure returns (address, address) {
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        return (Lean.signerOf(digest, signature), signer);
    }
}

/// The lean computations against OpenZeppelin's.
contract LeanTest is Base {
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    LeanHarness private harness = new LeanHarness();

    function same(bytes32 digest, bytes memory signature) private view returns (address lean) {
        address whole;
        (lean, whole) = harness.signerOf(digest, signature);
        eq(lean, whole, "signer");
    }

    function testFuzzRoots(bytes32[] calldata proof, bytes32 leaf) external view {
        (bytes32 lean, bytes32 whole) = harness.rootOf(proof, leaf);
        eq(lean, whole, "root");
    }

    function testRootsOfEqualSiblings() external view {
        bytes32[] memory proof = new bytes32[](2);
        proof[0] = "leaf";
        proof[1] = keccak256(abi.encode("leaf", "leaf"));
        (bytes32 lean, bytes32 whole) = harness.rootOf(proof, "leaf");
        eq(lean, whole, "root");
        (lean,) = harness.rootOf(new bytes32[](0), "leaf");
        eq(lean, "leaf", "a single leaf is its own root");
    }

    function testFuzzSigners(uint256 key, bytes32 digest) external view {
        key = bound(key, 1, ORDER - 1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        eq(same(digest, abi.encodePacked(r, s, v)), vm.addr(key), "the signer");
        bytes32 other = bytes32(ORDER - uint256(s));
        eq(same(digest, abi.encodePacked(r, other, v == 27 ? uint8(28) : uint8(27))), address(0), "twin");
        eq(same(digest, abi.encodePacked(r, s, v - 27)), address(0), "v without 27");
        eq(same(digest, abi.encodePacked(r, s, v, uint8(0))), address(0), "66 bytes");
        eq(same(digest, abi.encodePacked(r, s)), address(0), "64 bytes");
        eq(same(digest, ""), address(0), "no bytes");
    }

    function testFuzzNonsense(bytes32 digest, bytes32 r, bytes32 s, uint8 v) external view {
        same(digest, abi.encodePacked(r, s, v));
    }

    function testTheLimitOfTheLowerHalf() external view {
        uint256 half = ORDER / 2;
        same("d", abi.encodePacked(bytes32("r"), half, uint8(27)));
        eq(same("d", abi.encodePacked(bytes32("r"), half + 1, uint8(27))), address(0), "upper half");
        eq(same("d", abi.encodePacked(bytes32(0), half, uint8(27))), address(0), "r of zero");
        eq(same("d", abi.encodePacked(bytes32("r"), uint256(0), uint8(27))), address(0), "s of zero");
    }
}
