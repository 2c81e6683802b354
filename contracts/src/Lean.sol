// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Two computations that every claim and settlement repeats, for half of what the general libraries take
/// besides the hashing and recovering itself. Tested against those libraries.
library Lean {
    /// Half of the order of secp256k1: of the two forms of a signature only the lower counts.
    uint256 private constant HALF_ORDER =
        0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// Root over a leaf and its siblings from the bottom up, each pair hashed in sorted order.
    function rootOf(bytes32[] calldata proof, bytes32 leaf) internal pure returns (bytes32 root) {
        // Hashes in the two words of scratch space that Solidity leaves to anybody.
        assembly ("memory-safe") {
            root := leaf
            let end := add(proof.offset, shl(5, proof.length))
            for { let at_ := proof.offset } lt(at_, end) { at_ := add(at_, 32) } {
                let sibling := calldataload(at_)
                // 0 or 32: the smaller one goes first.
                let spot := shl(5, gt(root, sibling))
                mstore(spot, root)
                mstore(xor(spot, 32), sibling)
                root := keccak256(0, 64)
            }
        }
    }

    /// Who signed, by 65 bytes r, s, v. Zero for any other length, for the second form of a signature (s
    /// in the upper half), and where nothing can be recovered.
    function signerOf(bytes32 digest, bytes calldata signature) internal pure returns (address) {
        if (signature.length != 65) return address(0);
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := calldataload(signature.offset)
            s := calldataload(add(signature.offset, 32))
            v := byte(0, calldataload(add(signature.offset, 64)))
        }
        if (uint256(s) > HALF_ORDER) return address(0);
        return ecrecover(digest, v, r, s);
    }
}
