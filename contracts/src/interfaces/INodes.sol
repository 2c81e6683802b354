// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tier} from "./ILedgerTypes.sol";

/// Who takes part: keys, tiers, bonds, notaries' seats.
interface INodes {
    /// keccak256(x, y) is not the caller.
    error KeyNotOfCaller(address expected, address caller);
    error AlreadyRegistered(address node);
    error NotRegistered(address node);
    /// The bond would be below the least bond of the tier (or of a notary).
    error BondTooSmall(uint256 bond, uint256 least);
    /// The bond is not released yet.
    error StillUnbonding(uint64 releaseTime);
    error NothingToWithdraw();
    error ZeroAmount();
    /// The node holds no notary's seat.
    error NotNotary(address node);
    /// An epoch that counts with the tier before the last change can still be settled until then.
    error TierJustChanged(uint64 until);
    /// All 31 notary seats are taken by larger bonds.
    error NoSeat(uint256 leastBondOfSeats);
    /// Not possible while a dispute against the node is open.
    error UnderDispute(address node);
    error NotDisputes(address caller);
    /// A node slashed for a whole bond cannot come back under the same key.
    error Banned(address node);

    event Registered(address indexed node, bytes32 indexed nodeId, Tier tier, uint256 bond);
    /// The tier counts from `fromEpoch` on: an epoch's share is computed with one tier.
    event TierChanged(address indexed node, Tier tier, uint64 fromEpoch);
    event Bonded(address indexed node, uint256 added, uint256 bond);
    /// `bond` is what is left at work: the amount may have come from a notary's seat instead.
    event Unbonding(address indexed node, uint256 amount, uint256 bond, uint64 releaseTime);
    event Withdrawn(address indexed node, uint256 amount);
    event NotarySeated(address indexed node, uint256 bond);
    event NotaryLeft(address indexed node);
    /// Half is burned, half goes to the challenger (all is burned where there is none). `bond` is what is
    /// left at work: from the logs alone everybody must know every node's bond at any block.
    event Slashed(address indexed node, uint256 amount, uint256 bond, address indexed challenger, uint256 reward);

    struct Node {
        bytes32 nodeId;
        /// In force in the running epoch.
        Tier tier;
        bool registered;
        bool banned;
        uint64 registeredEpoch;
        /// At work; counts for eligibility and weight.
        uint256 bond;
        /// On its way out; still slashable.
        uint256 unbonding;
        uint64 releaseTime;
        /// 0: no notary.
        uint256 notaryBond;
        /// The tier asked for last; in force from `tierFrom` on, `tierBefore` up to then.
        Tier tierNext;
        Tier tierBefore;
        uint64 tierFrom;
        /// Open disputes against the node.
        uint256 locks;
    }

    /// x, y: the public key. nodeId = sha256(compressed key). Takes `bond` by transferFrom.
    function register(bytes32 x, bytes32 y, Tier tier, uint256 bond) external;
    /// From the next epoch on; the bond must reach the least of the new tier, and of the old one until
    /// then. Not while a dispute is open.
    function changeTier(Tier tier) external;
    function addBond(uint256 amount) external;
    /// Leaves either nothing or at least the tier's least bond. What is on its way out already waits
    /// again for the whole time. Unbonding everything leaves the notary's seat too.
    function unbond(uint256 amount) external;
    function withdraw() external;
    /// Takes a notary's seat, the least bonded one's where all are taken; adds to the bond of a seat
    /// that the caller holds. `leaveSeat` unbonds it.
    function takeSeat(uint256 notaryBond) external;
    function leaveSeat() external;

    /// Registered, not banned, bond at least the tier's least.
    function isActive(address node) external view returns (bool);
    /// The tier that counts for an epoch: exact for every epoch that can still be settled (until then
    /// a changed tier cannot change again).
    function tierAt(address node, uint64 epoch) external view returns (Tier);
    function nodeOf(address node) external view returns (Node memory);
    function addressOf(bytes32 nodeId) external view returns (address);
    function isNotary(address node) external view returns (bool);
    function notaryCount() external view returns (uint256);
    /// At most 31; `bonds` in the same order.
    function notaries() external view returns (address[] memory seats, uint256[] memory bonds);
    /// As above, with a bond of zero for seats taken or added to in that block or later: once a draw's
    /// seed is known, nobody can put bond where it would decide the draw.
    function notariesBefore(uint256 blockNumber)
        external view returns (address[] memory seats, uint256[] memory bonds);
    /// The notary drawn by bond for `seed`; zero where there is none.
    function drawNotary(bytes32 seed) external view returns (address);
    /// What settling asks, in one call: the notary drawn for `seed` (nobody for a seed of zero), how many
    /// notaries there are, and how many of `accounts`, from the first on, are notaries without a gap.
    function council(bytes32 seed, address[] calldata accounts)
        external view returns (address drawn, uint256 count, uint256 seated);

    /// Only Disputes. Slashes `bps` of bond, unbonding and notary bond together; returns the amount.
    function slash(address node, uint16 bps, address challenger) external returns (uint256);
    /// Only Disputes: while the count is above zero, nothing can be withdrawn.
    function lock(address node) external;
    function unlock(address node) external;
}
