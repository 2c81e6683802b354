// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EpochPlan} from "./interfaces/ILedgerTypes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// First half of an epoch's way: commitments and reveals of single nodes, and the root over those that
/// were gathered by gossip. Windows follow from the block's time alone; nobody advances them.
abstract contract Commits is IEpochs {
    /// Commit roots are kept for so many epochs, in slots that are written again and again: a fresh slot
    /// costs 17,000 gas more than a used one, and readers of old roots have the events.
    uint256 private constant KEPT_ROOTS = 8;
    /// Commitments that a node may leave neither opened nor punished.
    uint256 private constant MAX_OPEN_COMMITS = 10;
    /// Leaves of a tree; a count is kept in 32 bits.
    uint256 internal constant MAX_COUNT = type(uint32).max;

    struct Batch {
        bytes32 root;
        uint64 epoch;
        uint32 count;
    }

    IParams public immutable params;
    INodes public immutable nodes;
    /// The only contract that may hold, release and punish.
    address public immutable disputes;

    mapping(uint64 epoch => mapping(address node => bytes32)) private _commitments;
    /// Left at None by a commitment: most are opened, and so a slot less is written for it.
    mapping(uint64 epoch => mapping(address node => CommitState)) private _states;
    /// @inheritdoc IEpochs
    mapping(address node => uint256) public openCommits;
    /// Running hash over the reveals of an epoch: what draws are seeded with.
    mapping(uint64 epoch => bytes32) internal _reveals;
    Batch[KEPT_ROOTS] private _batches;

    modifier onlyDisputes() {
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        _;
    }

    constructor(IParams params_, INodes nodes_, address disputes_) {
        params = params_;
        nodes = nodes_;
        disputes = disputes_;
        // Paid once here, so that the first batches cost what all later ones cost.
        for (uint256 i = 0; i < KEPT_ROOTS; ++i) {
            _batches[i] = Batch(bytes32(uint256(1)), type(uint64).max, 0);
        }
    }

    /// @inheritdoc IEpochs
    function commit(uint64 epoch, bytes32 commitment) external {
        if (commitment == 0) revert EmptyCommitment();
        if (!nodes.isActive(msg.sender)) revert NotActive(msg.sender);
        EpochPlan memory plan = params.planAt(epoch);
        _within(epoch, plan.end, plan.end + plan.commitSeconds);
        if (_commitments[epoch][msg.sender] != 0) revert AlreadyCommitted(epoch, msg.sender);
        uint256 open = openCommits[msg.sender];
        // Bounds what one bond has at stake at a time, and the work of punishing it.
        if (open >= MAX_OPEN_COMMITS) revert TooManyOpenCommits(msg.sender);
        openCommits[msg.sender] = open + 1;
        _commitments[epoch][msg.sender] = commitment;
        emit Committed(epoch, msg.sender, commitment);
    }

    /// @inheritdoc IEpochs
    function reveal(uint64 epoch, bytes32 resultHash, uint256 score, bytes32 nonce) external {
        bytes32 commitment = _commitments[epoch][msg.sender];
        if (commitment == 0) revert NotCommitted(epoch, msg.sender);
        EpochPlan memory plan = params.planAt(epoch);
        uint64 opens = plan.end + plan.commitSeconds;
        // Nobody opens before all have committed: a result seen early could be copied, though not its
        // commitment, which names its sender.
        _within(epoch, opens, opens + plan.revealSeconds);
        if (_states[epoch][msg.sender] != CommitState.None) revert AlreadyRevealed(epoch, msg.sender);
        bool matches = commitmentOf(epoch, msg.sender, resultHash, score, nonce) == commitment;
        // A mismatch is recorded and not reverted: reverting would leave no trace to slash for.
        _states[epoch][msg.sender] = matches ? CommitState.Revealed : CommitState.Mismatched;
        openCommits[msg.sender] -= 1;
        if (matches) {
            _reveals[epoch] = keccak256(abi.encode(_reveals[epoch], msg.sender, nonce));
        }
        emit Revealed(epoch, msg.sender, resultHash, score, nonce, matches);
    }

    /// @inheritdoc IEpochs
    function commitRoot(uint64 epoch, bytes32 root, uint256 count) external {
        if (count == 0 || count > MAX_COUNT) revert TreeTooLarge(count);
        EpochPlan memory plan = params.planAt(epoch);
        // Ends at half time: whoever finds itself left out still has time to commit on the chain, so a
        // proposer that omits a node gains nothing.
        _within(epoch, plan.end, plan.end + (plan.commitSeconds + 1) / 2);
        Batch storage batch = _batches[epoch % KEPT_ROOTS];
        if (batch.epoch == epoch) revert RootAlreadyCommitted(epoch);
        uint64 until = plan.end + plan.commitSeconds / 4;
        if (block.timestamp < until) {
            address proposer = _proposer(epoch, revealSeed());
            if (msg.sender != proposer) revert NotProposer(msg.sender, proposer, until);
        } else if (!nodes.isNotary(msg.sender)) {
            revert NotProposer(msg.sender, address(0), until);
        }
        batch.root = root;
        batch.epoch = epoch;
        batch.count = uint32(count);
        emit CommitRoot(epoch, root, count, msg.sender);
    }

    /// @inheritdoc IEpochs
    function punishCommit(uint64 epoch, address node) external onlyDisputes {
        CommitState state = commitState(epoch, node);
        if (state == CommitState.Committed) openCommits[node] -= 1;
        else if (state != CommitState.Mismatched) revert NotCommitted(epoch, node);
        // Never a second time for one commitment.
        _states[epoch][node] = CommitState.Punished;
    }

    /// @inheritdoc IEpochs
    function commitState(uint64 epoch, address node) public view returns (CommitState state) {
        state = _states[epoch][node];
        if (state == CommitState.None && _commitments[epoch][node] != 0) return CommitState.Committed;
    }

    /// @inheritdoc IEpochs
    function commitmentAt(uint64 epoch, address node) external view returns (bytes32) {
        return _commitments[epoch][node];
    }

    /// @inheritdoc IEpochs
    function commitRootOf(uint64 epoch) external view returns (bytes32 root, uint256 count) {
        Batch memory batch = _batches[epoch % KEPT_ROOTS];
        if (batch.epoch == epoch) return (batch.root, batch.count);
    }

    /// @inheritdoc IEpochs
    function windowsOf(uint64 epoch)
        external
        view
        returns (
            uint64 commitStart,
            uint64 commitEnd,
            uint64 revealEnd,
            uint64 proposerEnd,
            uint64 settleEnd
        )
    {
        EpochPlan memory plan = params.planAt(epoch);
        commitStart = plan.end;
        commitEnd = commitStart + plan.commitSeconds;
        revealEnd = commitEnd + plan.revealSeconds;
        proposerEnd = revealEnd + plan.proposerSeconds;
        settleEnd = commitStart + plan.settleSeconds;
    }

    /// @inheritdoc IEpochs
    function proposerOf(uint64 epoch) external view returns (address) {
        return _proposer(epoch, revealSeed());
    }

    /// Binds who, where and when: a copied commitment opens for nobody else, in no other epoch, under no
    /// other contract and on no other chain.
    /// @inheritdoc IEpochs
    function commitmentOf(
        uint64 epoch,
        address sender,
        bytes32 resultHash,
        uint256 score,
        bytes32 nonce
    ) public view returns (bytes32) {
        return keccak256(
            abi.encode(block.chainid, address(this), epoch, sender, resultHash, score, nonce)
        );
    }

    /// @inheritdoc IEpochs
    function revealSeed() public view virtual returns (bytes32);

    /// Drawn by bond, so that a bond split among many identities is drawn no more often.
    function _proposer(uint64 epoch, bytes32 seed) internal view returns (address) {
        return nodes.drawNotary(keccak256(abi.encode(seed, epoch)));
    }

    function _within(uint64 epoch, uint64 opens, uint64 closes) internal view {
        if (block.timestamp < opens || block.timestamp >= closes) {
            revert WindowClosed(epoch, opens, closes);
        }
    }
}
