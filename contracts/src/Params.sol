// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bounds} from "./Bounds.sol";
import {
    Activity,
    DisputePlan,
    EpochPlan,
    Offence,
    Split,
    Tier,
    Values
} from "./interfaces/ILedgerTypes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// The governed constants, by version, and the clock of epochs. A version is in force from the epoch
/// after the one in which it was scheduled, so nothing changes inside a running epoch, and it is never
/// altered once it is in force: whoever looks back finds what held then.
contract Params is IParams {
    /// Versions count from 1. The two newest starts share a slot with the count, because nearly every
    /// reader asks for the running epoch or the one before.
    struct Head {
        uint64 newest;
        uint64 newestFrom;
        uint64 beforeFrom;
    }

    /// The timelock through which governance acts; where the treasury's shares go.
    address public immutable owner;
    uint64 public immutable genesis;
    uint32 public immutable epochSeconds;
    bool public immutable blockRandomness;

    Head private _head;
    /// First epoch of each version.
    mapping(uint256 version => uint64 epoch) private _from;
    mapping(uint256 version => Values) private _values;
    /// Until when what was done under earlier versions may be judged.
    mapping(uint256 version => uint256 time) private _exposed;

    constructor(
        address owner_,
        uint64 genesis_,
        uint32 epochSeconds_,
        bool blockRandomness_,
        Values memory values
    ) {
        if (owner_ == address(0)) revert OutOfBounds("owner");
        // A genesis far ahead would freeze the ledger in epoch 0.
        if (genesis_ > block.timestamp + 365 days) revert OutOfBounds("genesis");
        if (epochSeconds_ < 2 || epochSeconds_ > 7 days) revert OutOfBounds("epochSeconds");
        Bounds.check(values, epochSeconds_);
        owner = owner_;
        genesis = genesis_;
        epochSeconds = epochSeconds_;
        blockRandomness = blockRandomness_;
        _head.newest = 1;
        _store(1, values);
        emit ValuesScheduled(1, 0);
    }

    /// @inheritdoc IParams
    function schedule(Values calldata values) external {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        Values memory next = values;
        Bounds.check(next, epochSeconds);
        uint64 from = currentEpoch() + 1;
        Head memory head = _head;
        if (head.newestFrom < from) {
            head = Head({newest: head.newest + 1, newestFrom: from, beforeFrom: head.newestFrom});
        }
        _checkUnbonding(next, head.newest, from);
        _head = head;
        _from[head.newest] = from;
        _store(head.newest, next);
        emit ValuesScheduled(head.newest, from);
    }

    /// @inheritdoc IParams
    function valuesAt(uint64 epoch) external view returns (Values memory) {
        return _values[versionAt(epoch)];
    }

    /// @inheritdoc IParams
    function current() external view returns (Values memory) {
        return _running();
    }

    /// @inheritdoc IParams
    function treasury() external view returns (address) {
        return owner;
    }

    /// @inheritdoc IParams
    function planAt(uint64 epoch) external view returns (EpochPlan memory plan) {
        Values storage v = _values[versionAt(epoch)];
        plan.end = epochEnd(epoch);
        plan.epochPool = v.epochPool;
        plan.dailyCap = v.dailyCap;
        plan.annualCap = v.annualCap;
        plan.commitSeconds = v.commitSeconds;
        plan.revealSeconds = v.revealSeconds;
        plan.proposerSeconds = v.proposerSeconds;
        plan.challengeSeconds = v.challengeSeconds;
        plan.settleSeconds = v.settleSeconds;
    }

    /// @inheritdoc IParams
    function commitWindow(uint64 epoch) external view returns (uint64 end, uint32 commitSeconds) {
        return (epochEnd(epoch), _values[versionAt(epoch)].commitSeconds);
    }

    /// @inheritdoc IParams
    function challengerBond() external view returns (uint96) {
        return _running().challengerBond;
    }

    /// @inheritdoc IParams
    function disputePlan() external view returns (DisputePlan memory) {
        Values storage v = _running();
        return DisputePlan(v.voteCommitSeconds, v.voteRevealSeconds, v.challengerBond, v.panelSize);
    }

    /// @inheritdoc IParams
    function slashBps(Offence offence) external view returns (uint16) {
        return _running().slashBps[uint256(offence)];
    }

    /// @inheritdoc IParams
    function tierBond(Tier tier) external view returns (uint96) {
        return _running().tierBonds[uint256(tier)];
    }

    /// @inheritdoc IParams
    function notaryBond() external view returns (uint96) {
        return _running().notaryBond;
    }

    /// @inheritdoc IParams
    function unbondingSeconds() external view returns (uint32) {
        return _running().unbondingSeconds;
    }

    /// @inheritdoc IParams
    function dataChallengeSeconds() external view returns (uint32) {
        return _running().dataChallengeSeconds;
    }

    /// @inheritdoc IParams
    function dataFee() external view returns (uint96) {
        return _running().dataFee;
    }

    /// @inheritdoc IParams
    function splitAt(uint64 epoch, Activity activity) external view returns (Split memory) {
        return _values[versionAt(epoch)].splits[uint256(activity)];
    }

    /// @inheritdoc IParams
    function currentEpoch() public view returns (uint64) {
        if (block.timestamp < genesis) return 0;
        return uint64((block.timestamp - genesis) / epochSeconds);
    }

    /// @inheritdoc IParams
    function epochEnd(uint64 epoch) public view returns (uint64) {
        return genesis + (epoch + 1) * epochSeconds;
    }

    /// @inheritdoc IParams
    function versionAt(uint64 epoch) public view returns (uint256) {
        Head memory head = _head;
        if (epoch >= head.newestFrom) return head.newest;
        if (epoch >= head.beforeFrom) return head.newest - 1;
        // The greatest version whose first epoch is not after `epoch`; version 1 begins with epoch 0.
        uint256 low = 1;
        uint256 high = head.newest - 2;
        while (low < high) {
            uint256 middle = (low + high + 1) / 2;
            if (_from[middle] <= epoch) low = middle;
            else high = middle - 1;
        }
        return low;
    }

    /// Who unbonds under `next` stays slashable for everything done under the versions before, so that no
    /// series of changes opens a way out.
    function _checkUnbonding(Values memory next, uint256 version, uint64 from) private {
        // The version that `next` follows; where one waits, `next` replaces it.
        uint256 before = version - 1;
        uint256 start = epochEnd(from - 1);
        uint256 exposed = start + Bounds.exposure(_values[before], epochSeconds);
        if (exposed < _exposed[before]) exposed = _exposed[before];
        if (start + next.unbondingSeconds < exposed) revert OutOfBounds("unbondingSeconds");
        _exposed[version] = exposed;
    }

    function _running() private view returns (Values storage) {
        return _values[versionAt(currentEpoch())];
    }

    /// Field by field where the compiler cannot copy an array of structs to storage.
    function _store(uint256 version, Values memory v) private {
        Values storage slot = _values[version];
        slot.epochPool = v.epochPool;
        slot.dailyCap = v.dailyCap;
        slot.annualCap = v.annualCap;
        slot.commitSeconds = v.commitSeconds;
        slot.revealSeconds = v.revealSeconds;
        slot.proposerSeconds = v.proposerSeconds;
        slot.challengeSeconds = v.challengeSeconds;
        slot.settleSeconds = v.settleSeconds;
        slot.voteCommitSeconds = v.voteCommitSeconds;
        slot.voteRevealSeconds = v.voteRevealSeconds;
        slot.unbondingSeconds = v.unbondingSeconds;
        slot.dataChallengeSeconds = v.dataChallengeSeconds;
        slot.tierRewards = v.tierRewards;
        slot.tierBonds = v.tierBonds;
        slot.notaryBond = v.notaryBond;
        slot.challengerBond = v.challengerBond;
        slot.slashBps = v.slashBps;
        slot.axisWeights = v.axisWeights;
        for (uint256 i = 0; i < v.splits.length; ++i) {
            slot.splits[i] = v.splits[i];
        }
        slot.dataFee = v.dataFee;
        slot.panelSize = v.panelSize;
        slot.benchmarkHash = v.benchmarkHash;
    }
}
