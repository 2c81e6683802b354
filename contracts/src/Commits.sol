// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EpochPlan} from "./interfaces/ILedgerTypes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// First part of an epoch's way: commitments and reveals of single nodes on the chain. Windows follow from
/// the block's time alone; nobody advances them.
abstract contract Commits is IEpochs {
    /// Commitments that a node may leave neither opened nor punished.
    uint256 private constant MAX_OPEN_COMMITS = 10;

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

    modifier onlyDisputes() {
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        _;
    }

    constructor(IParams params_, INodes nodes_, address disputes_) {
        params = params_;
        nodes = nodes_;
        disputes = disputes_;
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

    function _within(uint64 epoch, uint64 opens, uint64 closes) internal view {
        if (block.timestamp < opens || block.timestamp >= closes) {
            revert WindowClosed(epoch, opens, closes);
        }
    }
}
