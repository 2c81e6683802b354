// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Commits} from "./Commits.sol";
import {EpochPlan} from "./interfaces/ILedgerTypes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// Second half of an epoch's way: its settlement by a root of cumulative rewards, claims against the
/// newest final root, emission. Whatever the number of nodes, a settlement is one transaction with one
/// mint. Two settlements are kept: the newest final one, which claims are against, and the newest one.
/// Invariant: this contract holds at least what the final root still owes, as long as that root is true;
/// what a pending settlement minted is never paid out before it is final.
contract Epochs is Commits, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// One slot.
    struct Meta {
        uint40 epoch;
        /// 0: nothing settled here yet.
        uint40 settledAt;
        uint32 challengeSeconds;
        uint32 count;
        uint8 disputes;
        bool rejected;
        /// Sum of the totals up to this settlement.
        uint96 cumulative;
    }

    struct Entry {
        Meta meta;
        bytes32 root;
        bytes32 dataHash;
        bytes32 signersHash;
        // One slot.
        address proposer;
        uint96 total;
    }

    /// One slot: what was minted on the day and in the year of the last settlement, and which entry is the
    /// newest.
    struct Ration {
        uint96 today;
        uint96 thisYear;
        uint24 day;
        uint16 year;
        uint8 newest;
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
        "Settlement(uint64 epoch,bytes32 parent,bytes32 root,uint256 total,uint256 count,bytes32 dataHash)"
    );

    IMagToken public immutable token;

    Entry[2] private _entries;
    Ration private _ration;
    /// Roots that a panel has judged bad, by keccak256(abi.encode(epoch, root)).
    mapping(bytes32 key => bool) private _barred;
    /// @inheritdoc IEpochs
    mapping(address account => uint256) public claimed;

    constructor(IMagToken token_, IParams params_, INodes nodes_, address disputes_)
        Commits(params_, nodes_, disputes_)
        EIP712("Magnet Epochs", "1")
    {
        token = token_;
        // Both entries are written over and over; paid for here, the first settlements cost no more than
        // later ones. `settledAt` stays 0: nothing of this is ever read as a settlement.
        for (uint256 i = 0; i < 2; ++i) {
            Entry storage entry = _entries[i];
            entry.meta.challengeSeconds = 1;
            entry.root = bytes32(uint256(1));
            entry.dataHash = bytes32(uint256(1));
            entry.signersHash = bytes32(uint256(1));
            entry.total = 1;
        }
        (_ration.day, _ration.year) = _date();
    }

    /// @inheritdoc IEpochs
    function settle(
        uint64 epoch,
        bytes32 root,
        uint256 total,
        uint256 count,
        bytes32 dataHash,
        bytes[] calldata signatures
    ) external nonReentrant {
        _settle(Proposal(epoch, 0, root, total, count, dataHash), signatures);
        if (total != 0) token.mint(address(this), total);
    }

    /// @inheritdoc IEpochs
    function claim(address account, uint256 cumulative, bytes32[] calldata proof)
        external
        nonReentrant
    {
        // Hashed twice: no inner node of the tree, being the hash of 64 bytes once, passes for a leaf.
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
        (uint8 index, Meta memory meta) = _final();
        if (meta.settledAt == 0) revert InvalidProof();
        if (!MerkleProof.verifyCalldata(proof, _entries[index].root, leaf)) revert InvalidProof();
        uint256 before = claimed[account];
        if (cumulative <= before) revert NothingToClaim(account, before);
        // Written before the transfer: a token that calls back finds nothing left to claim.
        claimed[account] = cumulative;
        emit Claimed(account, cumulative - before, cumulative);
        IERC20(address(token)).safeTransfer(account, cumulative - before);
    }

    /// @inheritdoc IEpochs
    function hold(uint64 epoch) external onlyDisputes returns (address proposer, bool held) {
        Entry storage entry = _entries[_ration.newest];
        Meta memory meta = entry.meta;
        uint256 closes = uint256(meta.settledAt) + meta.challengeSeconds;
        bool open = meta.settledAt != 0 && meta.epoch == epoch && !meta.rejected;
        // Once its window is over a root is final for good, whoever has claimed or not.
        if (!open || block.timestamp >= closes) revert NotChallengeable(epoch);
        held = meta.disputes != 0;
        entry.meta.disputes = meta.disputes + 1;
        proposer = entry.proposer;
    }

    /// @inheritdoc IEpochs
    function release(uint64 epoch, bool reject, bool bar) external onlyDisputes nonReentrant {
        Ration memory ration = _ration;
        Entry storage entry = _entries[ration.newest];
        if (entry.meta.epoch != epoch || entry.meta.disputes == 0) revert NotChallengeable(epoch);
        entry.meta.disputes -= 1;
        if (!reject) return;
        entry.meta.rejected = true;
        bytes32 root = entry.root;
        if (bar) _barred[keccak256(abi.encode(epoch, root))] = true;
        // No settlement came between, so day and year are still those of the mint.
        uint96 total = entry.total;
        ration.today -= total;
        ration.thisYear -= total;
        _ration = ration;
        emit Rejected(epoch, root);
        if (total != 0) token.burn(total);
    }

    /// @inheritdoc IEpochs
    function settlementDigest(
        uint64 epoch,
        bytes32 root,
        uint256 total,
        uint256 count,
        bytes32 dataHash
    ) external view returns (bytes32) {
        uint8 index = _ration.newest;
        if (!_upheld(_entries[index].meta)) index = 1 - index;
        bytes32 parent = _upheld(_entries[index].meta) ? _entries[index].root : bytes32(0);
        return _digest(Proposal(epoch, parent, root, total, count, dataHash));
    }

    /// @inheritdoc IEpochs
    function signaturesNeeded() public view returns (uint256) {
        uint256 count = nodes.notaryCount();
        // One even where nobody is seated: a network without notaries settles nothing.
        return count == 0 ? 1 : (count - 1) / 3 + 1;
    }

    /// @inheritdoc IEpochs
    function poolOf(uint64 epoch) external view returns (uint256) {
        EpochPlan memory plan = params.planAt(epoch);
        Ration memory ration = _ration;
        // Skipped: too late, or a later epoch was settled. Its pool is never made up for.
        if (block.timestamp >= plan.end + plan.settleSeconds) return 0;
        Meta memory last = _entries[ration.newest].meta;
        if (!_upheld(last)) last = _entries[1 - ration.newest].meta;
        if (_upheld(last) && epoch <= last.epoch) return 0;
        return _pool(plan, ration, last.cumulative);
    }

    /// @inheritdoc IEpochs
    function lastSettlement() external view returns (Settlement memory) {
        return _view(_entries[_ration.newest]);
    }

    /// @inheritdoc IEpochs
    function settlementOf(uint64 epoch) external view returns (Settlement memory settlement) {
        uint8 newest = _ration.newest;
        if (_entries[newest].meta.epoch == epoch) return _view(_entries[newest]);
        Entry storage other = _entries[1 - newest];
        if (other.meta.epoch == epoch) return _view(other);
    }

    /// @inheritdoc IEpochs
    function isFinal(uint64 epoch) external view returns (bool) {
        for (uint256 i = 0; i < 2; ++i) {
            Meta memory meta = _entries[i].meta;
            if (meta.epoch == epoch && _isFinal(meta)) return true;
        }
        return false;
    }

    /// @inheritdoc IEpochs
    function finalRoot() external view returns (bytes32 root, uint64 epoch) {
        (uint8 index, Meta memory meta) = _final();
        if (meta.settledAt != 0) return (_entries[index].root, meta.epoch);
    }

    /// @inheritdoc IEpochs
    function cumulativeTotal() external view returns (uint256) {
        uint8 newest = _ration.newest;
        Meta memory meta = _entries[newest].meta;
        return meta.rejected ? _entries[1 - newest].meta.cumulative : meta.cumulative;
    }

    /// @inheritdoc IEpochs
    function revealSeed() public view override returns (bytes32) {
        // Of the final settlement, not of one under dispute: whoever proposed that would choose, by its
        // data hash, the panel that is to judge it.
        (uint8 index, Meta memory meta) = _final();
        return _seed(index, meta);
    }

    /// Checks, then writes; the mint comes after all of it.
    function _settle(Proposal memory proposal, bytes[] calldata signatures) private {
        uint64 epoch = proposal.epoch;
        EpochPlan memory plan = params.planAt(epoch);
        uint64 opens = plan.end + plan.commitSeconds + plan.revealSeconds;
        _within(epoch, opens, plan.end + plan.settleSeconds);
        if (proposal.count > MAX_COUNT) revert TreeTooLarge(proposal.count);
        Ration memory ration = _ration;
        (uint8 index, Meta memory parent) = _parent(epoch, ration.newest);
        if (parent.settledAt != 0) proposal.parent = _entries[index].root;
        _checkAmounts(proposal, _pool(plan, ration, parent.cumulative));
        _checkProposer(epoch, opens + plan.proposerSeconds, _seed(index, parent));
        address[] memory signers = _signers(proposal, signatures);

        ration.newest = 1 - index;
        _ration = _spend(ration, uint96(proposal.total));
        Entry storage entry = _entries[1 - index];
        entry.meta = Meta({
            epoch: uint40(epoch),
            settledAt: uint40(block.timestamp),
            challengeSeconds: plan.challengeSeconds,
            count: uint32(proposal.count),
            disputes: 0,
            rejected: false,
            cumulative: parent.cumulative + uint96(proposal.total)
        });
        _write(entry, proposal, signers);
    }

    function _write(Entry storage entry, Proposal memory proposal, address[] memory signers) private {
        entry.root = proposal.root;
        entry.dataHash = proposal.dataHash;
        entry.signersHash = keccak256(abi.encode(signers));
        entry.proposer = msg.sender;
        entry.total = uint96(proposal.total);
        emit Settled(
            proposal.epoch,
            proposal.root,
            proposal.total,
            proposal.count,
            proposal.dataHash,
            msg.sender,
            signers
        );
    }

    /// The entry that a settlement of `epoch` builds on: the newest that was not rejected, and final.
    function _parent(uint64 epoch, uint8 newest)
        private
        view
        returns (uint8 index, Meta memory meta)
    {
        index = newest;
        meta = _entries[index].meta;
        if (!_upheld(meta)) {
            // As if the rejected one had never been: the epochs that it passed over can be settled too.
            index = 1 - newest;
            meta = _entries[index].meta;
        } else if (!_isFinal(meta)) {
            revert OutOfOrder(epoch, meta.epoch);
        }
        if (meta.settledAt != 0 && epoch <= meta.epoch) revert OutOfOrder(epoch, meta.epoch);
    }

    /// The newest final entry; `settledAt` is 0 where there is none. If the newest is pending or
    /// rejected, the other one is final, because it was settled upon: no step is needed to make it so.
    function _final() private view returns (uint8 index, Meta memory meta) {
        index = _ration.newest;
        meta = _entries[index].meta;
        if (!_isFinal(meta)) {
            index = 1 - index;
            meta = _entries[index].meta;
        }
    }

    function _checkAmounts(Proposal memory proposal, uint256 pool) private view {
        // A root that was judged bad comes back under no signatures, old or new.
        if (_barred[keccak256(abi.encode(proposal.epoch, proposal.root))]) {
            revert RootRejected(proposal.epoch, proposal.root);
        }
        if (proposal.count == 0) {
            pool = 0;
            if (proposal.root != proposal.parent) {
                revert RootChanged(proposal.root, proposal.parent);
            }
        }
        if (proposal.total != pool) revert WrongTotal(proposal.total, pool);
    }

    /// A proposer that does not act delays a settlement by its time and no more.
    function _checkProposer(uint64 epoch, uint64 until, bytes32 seed) private view {
        if (block.timestamp < until) {
            address proposer = _proposer(epoch, seed);
            if (proposer == msg.sender) return;
            if (proposer != address(0)) revert NotProposer(msg.sender, proposer, until);
        }
        if (!nodes.isActive(msg.sender)) revert NotActive(msg.sender);
    }

    /// Of n = 3f + 1 notaries at most f are false: among f + 1 signers one is true.
    function _signers(Proposal memory proposal, bytes[] calldata signatures)
        private
        view
        returns (address[] memory signers)
    {
        uint256 needed = signaturesNeeded();
        // Reads no further ones: the work is bounded, and nobody is kept off the panel who is not needed.
        uint256 given = signatures.length < needed ? signatures.length : needed;
        bytes32 digest = _digest(proposal);
        signers = new address[](given);
        address last = address(0);
        for (uint256 i = 0; i < given; ++i) {
            // Refuses the second form of a signature, and zero; rising order refuses repetition.
            (address signer,,) = ECDSA.tryRecoverCalldata(digest, signatures[i]);
            if (!nodes.isNotary(signer)) revert SignatureNotOfNotary(signer);
            if (signer <= last) revert SignersNotSorted();
            signers[i] = signer;
            last = signer;
        }
        if (given < needed) revert TooFewSignatures(given, needed);
    }

    /// The domain names chain and contract, `parent` the state: a signature is worth nothing elsewhere.
    function _digest(Proposal memory proposal) private view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, proposal)));
    }

    function _seed(uint8 index, Meta memory meta) private view returns (bytes32) {
        if (meta.settledAt == 0) return bytes32(0);
        return keccak256(abi.encode(_entries[index].dataHash, _reveals[meta.epoch]));
    }

    /// What is left of the caps, at most the epoch's pool.
    function _pool(EpochPlan memory plan, Ration memory ration, uint96 cumulative)
        private
        view
        returns (uint256 pool)
    {
        (uint24 day, uint16 year) = _date();
        pool = _least(plan.epochPool, _left(plan.dailyCap, day == ration.day ? ration.today : 0));
        pool = _least(pool, _left(plan.annualCap, year == ration.year ? ration.thisYear : 0));
        pool = _least(pool, type(uint96).max - cumulative);
    }

    function _spend(Ration memory ration, uint96 total) private view returns (Ration memory) {
        (uint24 day, uint16 year) = _date();
        ration.today = (day == ration.day ? ration.today : 0) + total;
        ration.thisYear = (year == ration.year ? ration.thisYear : 0) + total;
        ration.day = day;
        ration.year = year;
        return ration;
    }

    function _date() private view returns (uint24 day, uint16 year) {
        day = uint24(block.timestamp / 1 days);
        year = uint16(block.timestamp / 365 days);
    }

    function _left(uint256 cap, uint256 spent) private pure returns (uint256) {
        return cap > spent ? cap - spent : 0;
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _upheld(Meta memory meta) private pure returns (bool) {
        return meta.settledAt != 0 && !meta.rejected;
    }

    function _isFinal(Meta memory meta) private view returns (bool) {
        if (!_upheld(meta) || meta.disputes != 0) return false;
        return block.timestamp >= uint256(meta.settledAt) + meta.challengeSeconds;
    }

    function _view(Entry storage entry) private view returns (Settlement memory settlement) {
        Meta memory meta = entry.meta;
        if (meta.settledAt == 0) return settlement;
        settlement.epoch = meta.epoch;
        settlement.settledAt = meta.settledAt;
        settlement.disputes = meta.disputes;
        settlement.rejected = meta.rejected;
        settlement.proposer = entry.proposer;
        settlement.root = entry.root;
        settlement.total = entry.total;
        settlement.count = meta.count;
        settlement.dataHash = entry.dataHash;
        settlement.signersHash = entry.signersHash;
    }
}
