// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Activity} from "./interfaces/ILedgerTypes.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";
import {IRevenue} from "./interfaces/IRevenue.sol";
import {Splitter} from "./Splitter.sol";
import {Till} from "./Till.sol";

/// Escrow of research jobs, and the tills of the paid API. Between calls it holds exactly the rewards
/// of jobs that are neither paid nor refunded; what lies in a till belongs to its server.
contract Revenue is IRevenue, Splitter, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    INodes public immutable nodes;
    /// The only contract that decides contested jobs.
    address public immutable disputes;
    /// What every till is a clone of.
    Till public immutable till;

    /// Jobs count from 1.
    uint256 public jobCount;
    mapping(uint256 id => Job) private _jobs;

    modifier onlyDisputes() {
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        _;
    }

    constructor(IMagToken token_, IParams params_, INodes nodes_, address disputes_)
        Splitter(token_, params_)
    {
        nodes = nodes_;
        disputes = disputes_;
        till = new Till(IERC20(address(token_)));
    }

    /// @inheritdoc IRevenue
    function createJob(bytes32 specHash, uint256 reward, uint64 deadline)
        external
        nonReentrant
        returns (uint256 id)
    {
        if (reward == 0) revert ZeroAmount();
        if (deadline <= block.timestamp) revert DeadlinePassed(deadline);
        id = ++jobCount;
        Job storage job = _jobs[id];
        job.state = JobState.Open;
        job.requester = msg.sender;
        job.deadline = deadline;
        job.createdEpoch = params.currentEpoch();
        job.reward = reward;
        job.specHash = specHash;
        emit JobCreated(id, msg.sender, specHash, reward, deadline);
        IERC20(address(token)).safeTransferFrom(msg.sender, address(this), reward);
    }

    /// @inheritdoc IRevenue
    function takeJob(uint256 id) external {
        Job storage job = _inState(id, JobState.Open);
        if (block.timestamp >= job.deadline) revert DeadlinePassed(job.deadline);
        if (!nodes.isActive(msg.sender)) revert NotActive(msg.sender);
        job.state = JobState.Taken;
        job.worker = msg.sender;
        emit JobTaken(id, msg.sender);
    }

    /// @inheritdoc IRevenue
    function submitResult(uint256 id, bytes32 resultHash) external {
        Job storage job = _inState(id, JobState.Taken);
        if (msg.sender != job.worker) revert NotWorker(msg.sender);
        if (block.timestamp >= job.deadline) revert DeadlinePassed(job.deadline);
        job.state = JobState.Submitted;
        job.resultHash = resultHash;
        job.reviewEnd = _window();
        emit JobSubmitted(id, resultHash, job.reviewEnd);
    }

    /// @inheritdoc IRevenue
    function acceptResult(uint256 id) external nonReentrant {
        Job storage job = _known(id);
        // A requester who contested and thought better of it may still pay, unless the panel has it.
        if (job.state != JobState.Submitted && (job.state != JobState.Contested || job.held)) {
            revert WrongState(id, job.state);
        }
        if (msg.sender != job.requester) revert NotRequester(msg.sender);
        _settle(id, job);
    }

    /// @inheritdoc IRevenue
    function contestResult(uint256 id, bytes32 reasonHash) external {
        Job storage job = _inState(id, JobState.Submitted);
        if (msg.sender != job.requester) revert NotRequester(msg.sender);
        if (block.timestamp >= job.reviewEnd) revert WindowOver(job.reviewEnd);
        job.state = JobState.Contested;
        job.reviewEnd = _window();
        emit JobContested(id, reasonHash);
    }

    /// @inheritdoc IRevenue
    function settleJob(uint256 id) external nonReentrant {
        Job storage job = _known(id);
        JobState state = job.state;
        if (state == JobState.Open || state == JobState.Taken) {
            if (block.timestamp < job.deadline) revert DeadlineAhead(job.deadline);
            _refund(id, job);
        } else if (state == JobState.Submitted || (state == JobState.Contested && !job.held)) {
            if (block.timestamp < job.reviewEnd) revert WindowOpen(job.reviewEnd);
            _settle(id, job);
        } else {
            revert WrongState(id, state);
        }
    }

    /// @inheritdoc IRevenue
    function sweep(address server) external nonReentrant returns (uint256 amount) {
        bytes32 salt = _salt(server);
        address spot = Clones.predictDeterministicAddress(address(till), salt);
        if (spot.code.length == 0) Clones.cloneDeterministic(address(till), salt);
        amount = Till(spot).empty();
        if (amount == 0) revert NothingToSweep(server);
        (uint256 provider, uint256 treasury, uint256 burned) =
            _parts(amount, params.currentEpoch(), Activity.ApiIncome);
        emit IncomeSwept(server, provider, treasury, burned);
        _pay(server, provider, treasury, burned);
    }

    /// @inheritdoc IRevenue
    function hold(uint256 id) external onlyDisputes returns (address worker, address requester) {
        Job storage job = _inState(id, JobState.Contested);
        if (job.held) revert WrongState(id, job.state);
        if (block.timestamp >= job.reviewEnd) revert WindowOver(job.reviewEnd);
        job.held = true;
        return (job.worker, job.requester);
    }

    /// @inheritdoc IRevenue
    function release(uint256 id, bool refund) external onlyDisputes nonReentrant {
        Job storage job = _inState(id, JobState.Contested);
        if (!job.held) revert WrongState(id, job.state);
        job.held = false;
        if (refund) _refund(id, job);
        else _settle(id, job);
    }

    /// @inheritdoc IRevenue
    function jobOf(uint256 id) external view returns (Job memory) {
        return _known(id);
    }

    /// @inheritdoc IRevenue
    function tillOf(address server) external view returns (address) {
        return Clones.predictDeterministicAddress(address(till), _salt(server));
    }

    function _settle(uint256 id, Job storage job) private {
        job.state = JobState.Paid;
        (uint256 provider, uint256 treasury, uint256 burned) =
            _parts(job.reward, job.createdEpoch, Activity.ResearchJob);
        emit JobPaid(id, job.worker, provider, treasury, burned);
        _pay(job.worker, provider, treasury, burned);
    }

    function _refund(uint256 id, Job storage job) private {
        job.state = JobState.Refunded;
        emit JobRefunded(id, job.reward);
        IERC20(address(token)).safeTransfer(job.requester, job.reward);
    }

    /// A requester has as long to look at a result as anyone to look at a data set.
    function _window() private view returns (uint64) {
        return uint64(block.timestamp + params.dataChallengeSeconds());
    }

    function _known(uint256 id) private view returns (Job storage job) {
        job = _jobs[id];
        if (job.state == JobState.None) revert UnknownJob(id);
    }

    function _inState(uint256 id, JobState state) private view returns (Job storage job) {
        job = _known(id);
        if (job.state != state) revert WrongState(id, job.state);
    }

    function _salt(address server) private pure returns (bytes32) {
        return bytes32(uint256(uint160(server)));
    }
}
