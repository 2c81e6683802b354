// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Commits} from "./Commits.sol";
import {EpochPlan} from "./interfaces/ILedgerTypes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// What is kept of settlements, and how they follow from each other. Two are kept: the newest, and the
/// final one that it was built on, in slots that are written over and over (a fresh slot costs 17,000 gas
/// more than a used one). None needs a step to become final: time alone makes it so.
abstract contract Settlements is Commits, EIP712 {
    enum Status {
        None,
        /// Final once its time has come.
        Pending,
        /// A dispute is open.
        Held,
        Rejected
    }

    /// One slot.
    struct Meta {
        uint32 epoch;
        /// 0: nothing settled here yet.
        uint40 settledAt;
        /// At most 30 days, by the bounds of Params.
        uint24 challengeSeconds;
        /// The tag's last four bytes.
        uint32 tagEnd;
        /// Minted, in GRAINs, and the sum up to this settlement.
        uint64 total;
        uint64 cumulative;
    }

    struct Entry {
        Meta meta;
        bytes32 root;
        // One slot. The tag is the first half of the signers' hash. Whoever found two lists with one tag,
        // one of own notaries to sign with and one of others to be punished, would exchange a root's
        // judges and culprits: 2^64 keys to be tried for 16 bytes, where 12 would fall to 2^48.
        address proposer;
        bytes12 tagStart;
    }

    /// One slot: all that a claim asks besides the root, and most that settling does.
    struct Head {
        /// Minted on the day and in the year of the last settlement, in GRAINs.
        uint64 today;
        uint64 thisYear;
        uint16 day;
        /// Of the newest entry: its index, its state, and when it is final; never, while not pending.
        uint8 newest;
        Status status;
        uint40 finalAt;
        /// Newest epoch with a commit root, plus one, modulo 2^24.
        uint24 batch;
        /// Newest epoch of which a root was judged bad, plus one: roots of later ones need no look-up.
        uint32 convicted;
    }

    /// The fields of a settlement as they are signed.
    struct Proposal {
        uint64 epoch;
        bytes32 parent;
        bytes32 root;
        uint256 total;
        uint256 count;
        bytes32 dataHash;
    }

    bytes32 private constant SETTLEMENT_TYPEHASH = keccak256(
        "Settlement(uint64 epoch,bytes32 parent,bytes32 root,uint256 total,uint256 count,"
        "bytes32 dataHash)"
    );

    /// 10^-9 of a token: what is minted is counted in, so that a settlement fits three slots. 2^64 of them
    /// are 18 thousand million tokens, all that can ever be minted.
    uint256 internal constant GRAIN = 1e9;
    uint40 internal constant NEVER = type(uint40).max;
    /// Stands where no root was written yet: a slot costs less once it is not zero.
    bytes32 private constant UNUSED = bytes32(uint256(1) << 255);

    Entry[2] internal _entries;
    Head internal _head;
    bytes32 internal _batchRoot;

    constructor(IParams params_, INodes nodes_, address disputes_)
        Commits(params_, nodes_, disputes_)
        EIP712("Magnet Epochs", "1")
    {
        // Paid for here, the first settlements cost no more than later ones. Nothing of this is ever read
        // as a settlement, nor as a commit root.
        for (uint256 i = 0; i < 2; ++i) {
            Entry storage entry = _entries[i];
            entry.meta.challengeSeconds = 1;
            entry.root = UNUSED;
            entry.tagStart = bytes12(UNUSED);
        }
        _batchRoot = UNUSED;
        _head.day = _today();
        _head.finalAt = NEVER;
    }

    /// @inheritdoc IEpochs
    function commitRootOf(uint64 epoch) external view returns (bytes32) {
        return _head.batch == _batchOf(epoch) ? _batchRoot : bytes32(0);
    }

    /// @inheritdoc IEpochs
    function proposerOf(uint64 epoch) external view returns (address) {
        return nodes.drawNotary(_proposerSeed(epoch, _rootOf(_final(_head))));
    }

    /// @inheritdoc IEpochs
    function settlementDigest(
        uint64 epoch,
        bytes32 root,
        uint256 total,
        uint256 count,
        bytes32 dataHash
    ) external view returns (bytes32) {
        return _digest(Proposal(epoch, _rootOf(_upheld(_head)), root, total, count, dataHash));
    }

    /// @inheritdoc IEpochs
    function signaturesNeeded() external view returns (uint256) {
        return _needed(nodes.notaryCount());
    }

    /// @inheritdoc IEpochs
    function poolOf(uint64 epoch) external view returns (uint256) {
        EpochPlan memory plan = params.planAt(epoch);
        Head memory head = _head;
        // Skipped: too late, or a later epoch was settled. Its pool is never made up for.
        if (block.timestamp >= plan.end + plan.settleSeconds) return 0;
        Meta memory last = _entries[_upheld(head)].meta;
        if (last.settledAt != 0 && epoch <= last.epoch) return 0;
        return _pool(plan, head, last.cumulative);
    }

    /// @inheritdoc IEpochs
    function lastSettlement() external view returns (Settlement memory) {
        return _view(_head.newest);
    }

    /// @inheritdoc IEpochs
    function settlementOf(uint64 epoch) external view returns (Settlement memory settlement) {
        uint8 newest = _head.newest;
        if (_entries[newest].meta.epoch == epoch) return _view(newest);
        if (_entries[1 - newest].meta.epoch == epoch) return _view(1 - newest);
    }

    /// @inheritdoc IEpochs
    function isFinal(uint64 epoch) external view returns (bool) {
        uint8 index = _final(_head);
        for (uint256 i = 0; i < 2; ++i) {
            Meta memory meta = _entries[index].meta;
            if (meta.settledAt != 0 && meta.epoch == epoch) return true;
            // Where the newest is final, so is the other.
            if (index != _head.newest) break;
            index = 1 - index;
        }
        return false;
    }

    /// @inheritdoc IEpochs
    function finalRoot() external view returns (bytes32 root, uint64 epoch) {
        uint8 index = _final(_head);
        return (_rootOf(index), _entries[index].meta.epoch);
    }

    /// @inheritdoc IEpochs
    function cumulativeTotal() external view returns (uint256) {
        return _entries[_upheld(_head)].meta.cumulative * GRAIN;
    }

    /// @inheritdoc IEpochs
    function revealSeed() public view returns (bytes32) {
        // Of the final settlement, not of one under dispute: whoever proposed that would choose, by its
        // root, the panel that is to judge it.
        uint8 index = _final(_head);
        uint64 epoch = _entries[index].meta.epoch;
        return keccak256(abi.encode(_rootOf(index), epoch, _reveals[epoch]));
    }

    /// Index of the newest final entry, or of an unused one where there is none. If the newest is not
    /// final, the other one is, because it was settled upon: no step is needed to make it so.
    function _final(Head memory head) internal view returns (uint8) {
        return block.timestamp < head.finalAt ? 1 - head.newest : head.newest;
    }

    /// The same for a claim, which reads nothing else of the head.
    function _finalIndex() internal view returns (uint8 index) {
        index = _head.newest;
        if (block.timestamp < _head.finalAt) index = 1 - index;
    }

    /// Index of the newest entry that was not rejected, or of an unused one where there is none.
    function _upheld(Head memory head) internal pure returns (uint8) {
        bool upheld = head.status == Status.Pending || head.status == Status.Held;
        return upheld ? head.newest : 1 - head.newest;
    }

    /// Zero before the first settlement.
    function _rootOf(uint8 index) internal view returns (bytes32 root) {
        root = _entries[index].root;
        if (root == UNUSED) return bytes32(0);
    }

    /// The final root moves with every reward of the epoch before, and the chain reads it anyhow. Drawn by
    /// bond, so that a bond split among many identities is drawn no more often.
    function _proposerSeed(uint64 epoch, bytes32 root) internal pure returns (bytes32) {
        return keccak256(abi.encode(root, epoch));
    }

    /// The domain names chain and contract, `parent` the state: a signature is worth nothing elsewhere.
    function _digest(Proposal memory proposal) internal view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, proposal)));
    }

    /// What is left of the caps, at most the epoch's pool, in whole grains. A skipped epoch leaves nothing over for later
    /// ones, so there is no burst after a silence.
    function _pool(EpochPlan memory plan, Head memory head, uint64 cumulative)
        internal
        view
        returns (uint256 pool)
    {
        uint16 day = _today();
        pool = _least(plan.epochPool, _left(plan.dailyCap, day == head.day ? head.today * GRAIN : 0));
        uint256 year = day / 365 == head.day / 365 ? head.thisYear * GRAIN : 0;
        pool = _least(pool, _left(plan.annualCap, year));
        pool = _least(pool, (type(uint64).max - cumulative) * GRAIN);
        pool -= pool % GRAIN;
    }

    /// Counts what is minted in this block.
    function _spend(Head memory head, uint64 grains) internal view {
        uint16 day = _today();
        head.today = (day == head.day ? head.today : 0) + grains;
        head.thisYear = (day / 365 == head.day / 365 ? head.thisYear : 0) + grains;
        head.day = day;
    }

    /// Of n = 3f + 1 notaries at most f are false: among f + 1 signers one is true. One even where nobody
    /// is seated: a network without notaries settles nothing.
    function _needed(uint256 notaries) internal pure returns (uint256) {
        return notaries == 0 ? 1 : (notaries - 1) / 3 + 1;
    }

    function _view(uint8 index) private view returns (Settlement memory settlement) {
        Entry storage entry = _entries[index];
        Meta memory meta = entry.meta;
        if (meta.settledAt == 0) return settlement;
        Head memory head = _head;
        settlement.epoch = meta.epoch;
        settlement.settledAt = meta.settledAt;
        if (index == head.newest) {
            settlement.disputes = head.status == Status.Held ? 1 : 0;
            settlement.rejected = head.status == Status.Rejected;
        }
        settlement.proposer = entry.proposer;
        settlement.root = entry.root;
        settlement.total = meta.total * GRAIN;
        settlement.signersTag = bytes16(entry.tagStart) | (bytes16(uint128(meta.tagEnd)));
    }

    function _batchOf(uint64 epoch) internal pure returns (uint24) {
        return uint24(epoch + 1);
    }

    /// Days since 1970: 16 bits last until 2149.
    function _today() private view returns (uint16) {
        return uint16(block.timestamp / 1 days);
    }

    function _left(uint256 cap, uint256 spent) private pure returns (uint256) {
        return cap > spent ? cap - spent : 0;
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
