// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The notaries' table: at most 31 seats, drawn by bond. A seat is one storage slot; its weight stands in
/// another with those of three neighbours, and the sums of eight seats each share one with the number of
/// seats. So a draw reads three or four slots, whoever is drawn: settling pays for it every time.
abstract contract Seats {
    struct Seat {
        address node;
        uint96 bond;
    }

    uint256 internal constant MAX_SEATS = 31;
    /// Seats to a sum, and to a slot of weights.
    uint256 private constant GROUP = 8;
    uint256 private constant QUARTET = 4;
    uint256 private constant LANE = 62;
    uint256 private constant MASK = (1 << LANE) - 1;
    /// Weights are counted in millionths of a token: eight of them, each below 2^96 / 10^12, fit a lane.
    uint256 private constant GRAIN = 1e12;
    /// The number of seats stands above the four sums.
    uint256 private constant COUNT_SHIFT = 4 * LANE;
    uint256 private constant SUMS = (1 << COUNT_SHIFT) - 1;

    Seat[MAX_SEATS] private _seats;
    /// Four lanes each: the weights of four seats.
    uint256[8] private _weights;
    /// Four lanes: the weights of eight seats each; the number of seats.
    uint256 private _sums;

    function _seatCount() internal view returns (uint256) {
        return _sums >> COUNT_SHIFT;
    }

    /// The node whose share of all bonds `seed` falls into; zero while nobody is seated.
    function _draw(bytes32 seed) internal view returns (address) {
        uint256 sums = _sums & SUMS;
        uint256 total = 0;
        for (uint256 rest = sums; rest != 0; rest >>= LANE) {
            total += rest & MASK;
        }
        if (total == 0) return address(0);
        // The share at which the seed points, not its remainder, which a millionth more would throw
        // elsewhere: a notary could try additions until it is drawn. A total has 62 bits.
        uint256 target = ((uint256(seed) >> 64) * total) >> 192;
        uint256 index = 0;
        while (target >= sums & MASK) {
            target -= sums & MASK;
            sums >>= LANE;
            index += GROUP;
        }
        // Ends inside the group: a sum is that of its seats' weights.
        uint256 weights = _weights[index / QUARTET];
        while (target >= weights & MASK) {
            target -= weights & MASK;
            weights >>= LANE;
            if (++index % QUARTET == 0) weights = _weights[index / QUARTET];
        }
        return _seats[index].node;
    }

    function _seatAt(uint256 index) internal view returns (Seat memory) {
        return _seats[index];
    }

    /// The seat with the smallest bond, the first of several.
    function _leastSeat() internal view returns (uint256 index, Seat memory least) {
        uint256 count = _seatCount();
        least = _seats[0];
        for (uint256 i = 1; i < count; ++i) {
            Seat memory seat = _seats[i];
            if (seat.bond < least.bond) (index, least) = (i, seat);
        }
    }

    function _writeSeat(uint256 index, Seat memory seat) internal {
        uint256 before = _seats[index].bond / GRAIN;
        uint256 weight = seat.bond / GRAIN;
        uint256 shift = (index % QUARTET) * LANE;
        uint256 weights = _weights[index / QUARTET];
        _weights[index / QUARTET] = (weights & ~(MASK << shift)) | (weight << shift);
        // No lane overflows or borrows: a sum holds all that is taken from it.
        _sums = _sums + (weight << ((index / GROUP) * LANE)) - (before << ((index / GROUP) * LANE));
        _seats[index] = seat;
    }

    /// Takes one more seat into use, empty so far.
    function _addSeat() internal returns (uint256 index) {
        index = _seatCount();
        _sums += 1 << COUNT_SHIFT;
    }

    /// Removes a seat; the last one moves into its place and is returned (zero if it was the last).
    function _removeSeat(uint256 index) internal returns (address moved) {
        _sums -= 1 << COUNT_SHIFT;
        uint256 last = _seatCount();
        if (index != last) {
            Seat memory seat = _seats[last];
            _writeSeat(index, seat);
            moved = seat.node;
        }
        _writeSeat(last, Seat(address(0), 0));
    }
}
