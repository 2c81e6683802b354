// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The notaries' table: at most 31 seats, drawn by bond. A seat is one storage slot; the weights of
/// four groups of eight seats share another, so a draw reads that one and at most eight seats.
abstract contract Seats {
    struct Seat {
        address node;
        uint96 bond;
    }

    uint256 internal constant MAX_SEATS = 31;
    uint256 private constant GROUP = 8;
    uint256 private constant LANE = 64;
    uint256 private constant MASK = type(uint64).max;
    /// Weights are counted in millionths of a token: eight of them, each below 2^96 / 10^12, fit a lane.
    uint256 private constant GRAIN = 1e12;

    Seat[MAX_SEATS] private _seats;
    uint256 private _weights;
    uint256 internal _seatCount;

    /// The node whose share of all bonds `seed` falls into; zero while nobody is seated.
    function _draw(bytes32 seed) internal view returns (address) {
        uint256 weights = _weights;
        uint256 total = 0;
        for (uint256 lanes = weights; lanes != 0; lanes >>= LANE) {
            total += lanes & MASK;
        }
        if (total == 0) return address(0);
        // The share at which the seed points, not its remainder, which a millionth more would throw
        // elsewhere: a notary could try additions until it is drawn. A total has 62 bits.
        uint256 target = ((uint256(seed) >> 64) * total) >> 192;
        uint256 index = 0;
        while (target >= weights & MASK) {
            target -= weights & MASK;
            weights >>= LANE;
            index += GROUP;
        }
        // Ends inside the group: a lane is the sum of its seats' weights.
        Seat memory seat = _seats[index];
        for (uint256 weight = seat.bond / GRAIN; target >= weight; weight = seat.bond / GRAIN) {
            target -= weight;
            seat = _seats[++index];
        }
        return seat.node;
    }

    function _seatAt(uint256 index) internal view returns (Seat memory) {
        return _seats[index];
    }

    /// The seat with the smallest bond, the first of several.
    function _leastSeat() internal view returns (uint256 index, Seat memory least) {
        uint256 count = _seatCount;
        least = _seats[0];
        for (uint256 i = 1; i < count; ++i) {
            Seat memory seat = _seats[i];
            if (seat.bond < least.bond) (index, least) = (i, seat);
        }
    }

    function _writeSeat(uint256 index, Seat memory seat) internal {
        uint256 before = _seats[index].bond / GRAIN;
        uint256 shift = (index / GROUP) * LANE;
        uint256 weights = _weights;
        uint256 lane = ((weights >> shift) & MASK) - before + seat.bond / GRAIN;
        _weights = (weights & ~(MASK << shift)) | (lane << shift);
        _seats[index] = seat;
    }

    /// Removes a seat; the last one moves into its place and is returned (zero if it was the last).
    function _removeSeat(uint256 index) internal returns (address moved) {
        uint256 last = --_seatCount;
        if (index != last) {
            Seat memory seat = _seats[last];
            _writeSeat(index, seat);
            moved = seat.node;
        }
        _writeSeat(last, Seat(address(0), 0));
    }
}
