// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Activity, DisputePlan, EpochPlan, Offence, Split, Tier, Values} from "./ILedgerTypes.sol";

/// The governed constants, by version, and the clock of epochs. Owned by a TimelockController.
interface IParams {
    /// A value lies outside its bound; `field` names it as in `Values`.
    error OutOfBounds(bytes32 field);
    /// Only the owner (the timelock) schedules values.
    error NotOwner(address caller);

    /// New values are in force from the given epoch on.
    event ValuesScheduled(uint256 indexed version, uint64 indexed fromEpoch);

    /// Start of epoch 0, unix seconds; length of an epoch. Fixed at deployment.
    function genesis() external view returns (uint64);
    function epochSeconds() external view returns (uint32);
    /// (block.timestamp - genesis) / epochSeconds, 0 before genesis; advanced by nobody.
    function currentEpoch() external view returns (uint64);
    function epochEnd(uint64 epoch) external view returns (uint64);

    /// Only the owner (timelock). Takes effect with the next epoch; replaces a version that waits.
    function schedule(Values calldata values) external;
    function versionAt(uint64 epoch) external view returns (uint256);
    function valuesAt(uint64 epoch) external view returns (Values memory);
    /// The values of the running epoch.
    function current() external view returns (Values memory);
    /// Narrow reads for callers that count gas: one slot for the version, then only what is named.
    function planAt(uint64 epoch) external view returns (EpochPlan memory);
    function commitWindow(uint64 epoch) external view returns (uint64 end, uint32 commitSeconds);
    function challengerBond() external view returns (uint96);
    function disputePlan() external view returns (DisputePlan memory);
    function slashBps(Offence offence) external view returns (uint16);
    /// Least bond of the tier, and of a notary, in the running epoch.
    function tierBond(Tier tier) external view returns (uint96);
    function notaryBond() external view returns (uint96);
    function unbondingSeconds() external view returns (uint32);
    function dataChallengeSeconds() external view returns (uint32);
    function dataFee() external view returns (uint96);
    function splitAt(uint64 epoch, Activity activity) external view returns (Split memory);
    /// Where the treasury's share of splits goes: the timelock.
    function treasury() external view returns (address);
    /// False on the embedded chain: its host chooses the block hash, so draws use reveals only.
    function blockRandomness() external view returns (bool);
}
