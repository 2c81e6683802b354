// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Research jobs in escrow, and the income of the paid API. Every payment is split by its activity;
/// the burned share makes the burn proportional to use.
interface IRevenue {
    error UnknownJob(uint256 id);
    error WrongState(uint256 id, JobState state);
    error NotRequester(address caller);
    error NotWorker(address caller);
    error NotActive(address node);
    error DeadlinePassed(uint64 deadline);
    error DeadlineAhead(uint64 deadline);
    error ZeroAmount();
    error NothingToSweep(address server);
    error NotDisputes(address caller);
    /// The requester's time to contest, or to bring a contested job before the panel, is over.
    error WindowOver(uint64 until);
    error WindowOpen(uint64 until);

    enum JobState { None, Open, Taken, Submitted, Paid, Refunded, Contested }

    struct Job {
        JobState state;
        address requester;
        address worker;
        uint64 deadline;
        /// Epoch of its creation: the split in force then is paid.
        uint64 createdEpoch;
        /// After a submission the requester can contest it until then, and after contesting bring it
        /// before the panel until then; later anyone may settle.
        uint64 reviewEnd;
        /// Before the panel of Disputes.
        bool held;
        uint256 reward;
        /// SHA-256 of the job's specification, and of the result.
        bytes32 specHash;
        bytes32 resultHash;
    }

    event JobCreated(uint256 indexed id, address indexed requester, bytes32 specHash, uint256 reward, uint64 deadline);
    event JobTaken(uint256 indexed id, address indexed worker);
    event JobSubmitted(uint256 indexed id, bytes32 resultHash, uint64 reviewEnd);
    event JobContested(uint256 indexed id, bytes32 reasonHash);
    event JobRefunded(uint256 indexed id, uint256 amount);
    event JobPaid(uint256 indexed id, address indexed worker, uint256 provider, uint256 treasury, uint256 burned);
    event IncomeSwept(address indexed server, uint256 provider, uint256 treasury, uint256 burned);

    /// Escrows `reward` by transferFrom.
    function createJob(bytes32 specHash, uint256 reward, uint64 deadline) external returns (uint256 id);
    /// An active node; one worker a job.
    function takeJob(uint256 id) external;
    function submitResult(uint256 id, bytes32 resultHash) external;
    /// The requester within the review window: pays at once, or contests: a contested job is decided by
    /// the panel of Disputes (offence BadData, subject = bytes32((1 << 255) | id)), where the requester
    /// must bring it within another window; else the worker is paid.
    function acceptResult(uint256 id) external;
    function contestResult(uint256 id, bytes32 reasonHash) external;
    /// Pays a submitted job, or a contested one that nobody brought before the panel, after its review
    /// window; refunds an open or late one after its deadline. Anyone.
    function settleJob(uint256 id) external;
    function jobOf(uint256 id) external view returns (Job memory);
    function jobCount() external view returns (uint256);

    /// Address to which a server's customers pay: a till that only `sweep` empties. Known before it is
    /// deployed.
    function tillOf(address server) external view returns (address);
    /// Deploys the till if needed and splits what lies in it. Anyone may call.
    function sweep(address server) external returns (uint256 amount);

    /// Only Disputes: a contested job comes before the panel. Returns the worker, who is the accused,
    /// and the requester, who alone may accuse.
    function hold(uint256 id) external returns (address worker, address requester);
    /// Only Disputes: back to the requester, or paid.
    function release(uint256 id, bool refund) external;
}
