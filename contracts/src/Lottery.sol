// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// A draw by weight in which every candidate has a number of its own, from the seed and its address:
/// the smaller, the sooner drawn. It falls with the candidate's weight alone, so who comes, leaves or
/// adds weight after the seed is known moves nobody but itself; in a draw along a line of all weights
/// it would shift everybody behind it, and with several seats one could try which to leave.
library Lottery {
    uint256 private constant FRACTION = 32;

    /// -log2(u) / weight for an even u in (0, 1): whoever's is least is first with a chance of exactly its
    /// weight's share, and so on among the rest. `weight` is above 0 and below 2^96.
    function ticket(bytes32 seed, address candidate, uint256 weight)
        internal
        pure
        returns (uint256)
    {
        uint256 u = (uint256(keccak256(abi.encode(seed, candidate))) >> 128) | 1;
        uint256 delay = (128 << FRACTION) - _log2(u);
        return (delay << 128) / weight;
    }

    /// log2(u) for 0 < u < 2^128, in units of 2^-32, rounded down: whole part from the highest bit, then
    /// a bit of the fraction for every squaring of what is left of u.
    function _log2(uint256 u) private pure returns (uint256 result) {
        uint256 whole = Math.log2(u);
        result = whole << FRACTION;
        uint256 x = u << (127 - whole);
        for (uint256 bit = 1 << (FRACTION - 1); bit != 0; bit >>= 1) {
            x = (x * x) >> 127;
            if (x >> 128 != 0) {
                x >>= 1;
                result |= bit;
            }
        }
    }
}
