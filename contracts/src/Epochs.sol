// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EpochPlan} from "./interfaces/ILedgerTypes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";
import {Lean} from "./Lean.sol";
import {Settlements} from "./Settlements.sol";

/// Reward epochs: the batch of commitments, settlement by a root of cumulative rewards, claims against the
/// newest final root, emission. Whatever the number of nodes, a settlement is one transaction and one mint.
/// Invariant: this contract holds at least what the final root still owes, as long as that root is true;
/// what a pending settlement minted is never paid out before it is final.
///
/// No guard against reentrancy: the only calls out of here that change anything, to the token, each come
/// last, after all that they could find half done is written. Tested with a token that calls back.
contract Epochs is Settlements {
    using SafeERC20 for IERC20;

    /// Leaves of a tree: more than any record can list.
    uint256 private constant MAX_COUNT = type(uint32).max;

    /// f + 1 of the most notaries that there are, 31.
    uint256 private constant MAX_SIGNATURES = 11;

    IMagToken public immutable token;

    /// Roots that a panel has judged bad, by keccak256(abi.encode(epoch, root)).
    mapping(bytes32 key => bool) private _barred;
    /// @inheritdoc IEpochs
    mapping(address account => uint256) public claimed;

    constructor(IMagToken token_, IParams params_, INodes nodes_, address disputes_)
        Settlements(params_, nodes_, disputes_)
    {
        token = token_;
    }

    /// @inheritdoc IEpochs
    function commitRoot(uint64 epoch, bytes32 root, uint256 count) external {
        if (count == 0 || count > MAX_COUNT) revert TreeTooLarge(count);
        (uint64 end, uint32 commitSeconds) = params.commitWindow(epoch);
        // Ends at half time: whoever finds itself left out still has time to commit on the chain, so a
        // proposer that omits a node, or writes nonsense, gains nothing.
        _within(epoch, end, end + (commitSeconds + 1) / 2);
        Head memory head = _head;
        if (head.batch == _batchOf(epoch)) revert RootAlreadyCommitted(epoch);
        uint64 until = end + commitSeconds / 4;
        if (block.timestamp < until) {
            address drawn = nodes.drawNotary(_proposerSeed(epoch, _rootOf(_final(head))));
            if (msg.sender != drawn) revert NotProposer(msg.sender, drawn, until);
        } else if (!nodes.isNotary(msg.sender)) {
            revert NotProposer(msg.sender, address(0), until);
        }
        _head.batch = _batchOf(epoch);
        _batchRoot = root;
        emit CommitRoot(epoch, root, count, msg.sender);
    }

    /// @inheritdoc IEpochs
    function settle(
        uint64 epoch,
        bytes32 root,
        uint256 total,
        uint256 count,
        bytes32 dataHash,
        bytes[] calldata signatures
    ) external {
        _settle(Proposal(epoch, 0, root, total, count, dataHash), signatures);
        if (total != 0) token.mint(address(this), total);
    }

    /// @inheritdoc IEpochs
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external {
        // Hashed twice: no inner node of the tree, being the hash of 64 bytes once, passes for a leaf.
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))));
        if (Lean.rootOf(proof, leaf) != _rootOf(_finalIndex())) revert InvalidProof();
        uint256 before = claimed[account];
        if (cumulative <= before) revert NothingToClaim(account, before);
        // Written before the transfer: a token that calls back finds nothing left to claim.
        claimed[account] = cumulative;
        emit Claimed(account, cumulative - before, cumulative);
        IERC20(address(token)).safeTransfer(account, cumulative - before);
    }

    /// @inheritdoc IEpochs
    function hold(uint64 epoch) external onlyDisputes returns (address proposer, bool held) {
        Head memory head = _head;
        Entry storage entry = _entries[head.newest];
        Meta memory meta = entry.meta;
        held = head.status == Status.Held;
        // Once its window is over a root is final for good, whoever has claimed or not.
        bool open = held || head.status == Status.Pending;
        uint256 closes = uint256(meta.settledAt) + meta.challengeSeconds;
        if (!open || meta.epoch != epoch || block.timestamp >= closes) {
            revert NotChallengeable(epoch);
        }
        _head.status = Status.Held;
        _head.finalAt = NEVER;
        proposer = entry.proposer;
    }

    /// @inheritdoc IEpochs
    function release(uint64 epoch, bool reject, bool bar) external onlyDisputes {
        Head memory head = _head;
        Entry storage entry = _entries[head.newest];
        Meta memory meta = entry.meta;
        if (head.status != Status.Held || meta.epoch != epoch) revert NotChallengeable(epoch);
        if (!reject) {
            _head.status = Status.Pending;
            _head.finalAt = meta.settledAt + meta.challengeSeconds;
            return;
        }
        bytes32 root = entry.root;
        if (bar) {
            _barred[keccak256(abi.encode(epoch, root))] = true;
            if (epoch >= head.convicted) head.convicted = uint32(epoch + 1);
        }
        head.status = Status.Rejected;
        // No settlement came between: day and year are still those of the mint.
        head.today -= meta.total;
        head.thisYear -= meta.total;
        _head = head;
        emit Rejected(epoch, root);
        // Had a false root become final and been paid out of this mint, less would be left than it was: a
        // case must end all the same.
        uint256 purse = IERC20(address(token)).balanceOf(address(this));
        uint256 total = meta.total * GRAIN;
        if (total > purse) total = purse;
        if (total != 0) token.burn(total);
    }

    /// Checks, then writes; the mint comes after all of it.
    function _settle(Proposal memory proposal, bytes[] calldata signatures) private {
        uint64 epoch = proposal.epoch;
        EpochPlan memory plan = params.planAt(epoch);
        uint64 opens = plan.end + plan.commitSeconds + plan.revealSeconds;
        _within(epoch, opens, plan.end + plan.settleSeconds);
        if (proposal.count > MAX_COUNT) revert TreeTooLarge(proposal.count);
        Head memory head = _head;
        // What was rejected is as if it had never been: epochs that it passed over can be settled too.
        uint8 index = _upheld(head);
        Meta memory parent = _entries[index].meta;
        if (
            (index == head.newest && block.timestamp < head.finalAt)
                || (parent.settledAt != 0 && epoch <= parent.epoch)
        ) revert OutOfOrder(epoch, parent.epoch);
        proposal.parent = _rootOf(index);
        _checkRoot(proposal, head.convicted);
        uint256 pool = proposal.count == 0 ? 0 : _pool(plan, head, parent.cumulative);
        if (proposal.total != pool) revert WrongTotal(proposal.total, pool);
        address[] memory signers =
            _checkSenders(proposal, opens + plan.proposerSeconds, signatures);

        uint64 grains = uint64(pool / GRAIN);
        head.newest = 1 - index;
        head.status = Status.Pending;
        head.finalAt = uint40(block.timestamp + plan.challengeSeconds);
        _spend(head, grains);
        _head = head;
        Meta memory meta = Meta({
            epoch: uint32(epoch),
            settledAt: uint40(block.timestamp),
            challengeSeconds: uint24(plan.challengeSeconds),
            tagEnd: 0,
            total: grains,
            cumulative: parent.cumulative + grains
        });
        _write(_entries[1 - index], meta, proposal, signers);
    }

    function _write(
        Entry storage entry,
        Meta memory meta,
        Proposal memory proposal,
        address[] memory signers
    ) private {
        bytes16 tag = bytes16(keccak256(abi.encode(signers)));
        meta.tagEnd = uint32(uint128(tag));
        entry.meta = meta;
        entry.root = proposal.root;
        entry.proposer = msg.sender;
        entry.tagStart = bytes12(tag);
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

    function _checkRoot(Proposal memory proposal, uint256 convicted) private view {
        bytes32 root = proposal.root;
        if (proposal.count == 0 && root != proposal.parent) {
            revert RootChanged(root, proposal.parent);
        }
        // What was judged bad comes back under no signatures, old or new.
        if (proposal.epoch < convicted && _barred[keccak256(abi.encode(proposal.epoch, root))]) {
            revert RootRejected(proposal.epoch, root);
        }
    }

    /// Who settles, and by whose signatures; returns these signers. A proposer that does not act delays
    /// a settlement by its own time and no more.
    function _checkSenders(Proposal memory proposal, uint64 until, bytes[] calldata signatures)
        private
        view
        returns (address[] memory signers)
    {
        signers = _recover(_digest(proposal), signatures);
        bool exclusive = block.timestamp < until;
        bytes32 seed = exclusive ? _proposerSeed(proposal.epoch, proposal.parent) : bytes32(0);
        (address drawn, uint256 count, uint256 seated) = nodes.council(seed, signers);
        if (!exclusive || drawn == address(0)) {
            if (!nodes.isActive(msg.sender)) revert NotActive(msg.sender);
        } else if (drawn != msg.sender) {
            revert NotProposer(msg.sender, drawn, until);
        }
        uint256 needed = _needed(count);
        if (seated < needed) {
            if (seated < signers.length) revert SignatureNotOfNotary(signers[seated]);
            revert TooFewSignatures(seated, needed);
        }
        // Nobody is kept off the panel, or punished, who was not needed: forget the further ones.
        assembly ("memory-safe") {
            mstore(signers, needed)
        }
    }

    function _recover(bytes32 digest, bytes[] calldata signatures)
        private
        pure
        returns (address[] memory signers)
    {
        // At most as many as 31 notaries can be asked for: the work is bounded.
        uint256 given = signatures.length < MAX_SIGNATURES ? signatures.length : MAX_SIGNATURES;
        signers = new address[](given);
        address last = address(0);
        for (uint256 i = 0; i < given; ++i) {
            // Zero for the second form of a signature, and for nonsense; rising order refuses both that
            // and repetition.
            address signer = Lean.signerOf(digest, signatures[i]);
            if (signer <= last) revert SignersNotSorted();
            signers[i] = signer;
            last = signer;
        }
    }
}
