// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Values} from "./ILedgerTypes.sol";

/// The governed constants, by version, and the clock of epochs. Owned by a TimelockController.
interface IParams {
    /// A value lies outside its bound; `field` names it as in `Values`.
    error OutOfBounds(bytes32 field);

    /// New values are in force from the given epoch on.
    event ValuesScheduled(uint256 indexed version, uint64 indexed fromEpoch);

    /// Start of epoch 0, unix seconds; length of an epoch. Fixed at deployment.
    function genesis() external view returns (uint64);
    function epochSeconds() external view returns (uint32);
    /// (block.timestamp - genesis) / epochSeconds; advanced by nobody.
    function currentEpoch() external view returns (uint64);
    function epochEnd(uint64 epoch) external view returns (uint64);

    /// Only the owner (timelock). Takes effect with the next epoch; replaces a version that waits.
    function schedule(Values calldata values) external;
    function versionAt(uint64 epoch) external view returns (uint256);
    function valuesAt(uint64 epoch) external view returns (Values memory);
    /// The values of the running epoch.
    function current() external view returns (Values memory);
    /// Where the treasury's share of splits goes: the timelock.
    function treasury() external view returns (address);
    /// False on the embedded chain: its host chooses the block hash, so draws use reveals only.
    function blockRandomness() external view returns (bool);
}
