// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Reward epochs: commitments, reveals, the root of cumulative rewards, claims, emission.
///
/// Windows of epoch e (Values at e): [end, +commitSeconds) commits; [.., +revealSeconds) reveals; then
/// settlement, first by `proposerOf(e)` alone for proposerSeconds, then by any active node; then
/// challengeSeconds; then final. Epochs are settled in rising order, each only when the one before is
/// final or rejected.
///
/// A commitment is keccak256(abi.encode(chainid, address(Epochs), epoch, sender, resultHash, score,
/// nonce)). A leaf of the reward tree is keccak256(bytes.concat(keccak256(abi.encode(account,
/// cumulativeAmount)))) (OpenZeppelin's StandardMerkleTree order: sorted pairs).
interface IEpochs {
    error WindowClosed(uint64 epoch, uint64 opens, uint64 closes);
    error NotActive(address node);
    error AlreadyCommitted(uint64 epoch, address node);
    error NotCommitted(uint64 epoch, address node);
    error AlreadyRevealed(uint64 epoch, address node);
    /// 10 commitments of the node are neither opened nor punished.
    error TooManyOpenCommits(address node);
    error RootAlreadyCommitted(uint64 epoch);
    /// Only the drawn proposer may act before `until`.
    error NotProposer(address caller, address proposer, uint64 until);
    /// The settlement before this one is not final yet, or a later epoch was settled already.
    error OutOfOrder(uint64 epoch, uint64 lastEpoch);
    error WrongTotal(uint256 total, uint256 expected);
    error TooFewSignatures(uint256 valid, uint256 needed);
    error SignatureNotOfNotary(address signer);
    /// Signers must rise, so that nobody counts twice.
    error SignersNotSorted();
    error InvalidProof();
    error NothingToClaim(address account, uint256 claimed);
    error NotDisputes(address caller);
    error NotChallengeable(uint64 epoch);
    error TreeTooLarge(uint256 count);
    error EmptyCommitment();
    /// A panel has judged this root bad for this epoch: its old signatures shall not carry it again.
    error RootRejected(uint64 epoch, bytes32 root);
    /// An epoch without contributions leaves the root as it is.
    error RootChanged(bytes32 root, bytes32 expected);

    /// A node's own commitment, on the chain.
    event Committed(uint64 indexed epoch, address indexed node, bytes32 commitment);
    /// A commitment was opened; `matches` is false where it does not open to it: that is slashed.
    event Revealed(
        uint64 indexed epoch, address indexed node, bytes32 resultHash, uint256 score, bytes32 nonce, bool matches
    );
    /// Root over the commitments that were gathered by gossip.
    event CommitRoot(uint64 indexed epoch, bytes32 root, uint256 count, address indexed proposer);
    /// `dataHash`: SHA-256 of the canonical epoch record; it stands here and nowhere else.
    /// `signers`: the notaries whose signatures carried it, `signaturesNeeded` of them in rising order.
    event Settled(
        uint64 indexed epoch,
        bytes32 root,
        uint256 total,
        uint256 count,
        bytes32 dataHash,
        address indexed proposer,
        address[] signers
    );
    /// The root was not upheld; what was minted for it is burned, the epoch may be settled again.
    event Rejected(uint64 indexed epoch, bytes32 root);
    event Claimed(address indexed account, uint256 amount, uint256 cumulative);

    enum CommitState { None, Committed, Revealed, Mismatched, Punished }

    struct Settlement {
        uint64 epoch;
        uint64 settledAt;
        /// Open disputes about it; not final while above zero.
        uint32 disputes;
        bool rejected;
        address proposer;
        bytes32 root;
        /// Minted for this epoch; the sum of the record's rewards.
        uint256 total;
        /// The first 16 bytes of keccak256(abi.encode(address[] signers)). (How many accounts and the hash
        /// of the record: event `Settled`.)
        bytes16 signersTag;
    }

    function commit(uint64 epoch, bytes32 commitment) external;
    function reveal(uint64 epoch, bytes32 resultHash, uint256 score, bytes32 nonce) external;
    /// First half of the commit window, so that a node that was left out can still commit itself; its
    /// first half again is the drawn proposer's, the rest any notary's.
    function commitRoot(uint64 epoch, bytes32 root, uint256 count) external;
    /// `signatures`: 65 bytes each, by notaries in rising order of address, over `settlementDigest`. The
    /// first `signaturesNeeded` are read, further ones ignored.
    function settle(
        uint64 epoch, bytes32 root, uint256 total, uint256 count, bytes32 dataHash, bytes[] calldata signatures
    ) external;
    /// Pays cumulative - claimed to the account under the newest final root. Anyone may call.
    function claim(address account, uint256 cumulative, bytes32[] calldata proof) external;

    /// keccak256 of the commitment's fields for `sender`.
    function commitmentOf(uint64 epoch, address sender, bytes32 resultHash, uint256 score, bytes32 nonce)
        external view returns (bytes32);
    /// EIP-712 digest that notaries sign (domain "Magnet Epochs", "1"): Settlement(uint64 epoch,bytes32
    /// parent,bytes32 root,uint256 total,uint256 count,bytes32 dataHash). `parent` is the root of the
    /// newest settlement that was not rejected (zero before the first): cumulative amounts build on it, so
    /// signatures are worth nothing on top of another.
    function settlementDigest(uint64 epoch, bytes32 root, uint256 total, uint256 count, bytes32 dataHash)
        external view returns (bytes32);
    function commitState(uint64 epoch, address node) external view returns (CommitState);
    function commitmentAt(uint64 epoch, address node) external view returns (bytes32);
    function openCommits(address node) external view returns (uint256);
    /// Of the newest epoch that has one, else zero (older ones, and counts: the events `CommitRoot`).
    function commitRootOf(uint64 epoch) external view returns (bytes32 root);
    /// Start and end of the windows, unix seconds.
    function windowsOf(uint64 epoch)
        external view
        returns (uint64 commitStart, uint64 commitEnd, uint64 revealEnd, uint64 proposerEnd, uint64 settleEnd);
    /// Drawn by notary bond, by the newest final root; zero where there are no notaries: then any active
    /// node settles at once.
    function proposerOf(uint64 epoch) external view returns (address);
    /// f + 1 with f = (notaries - 1) / 3; at least 1.
    function signaturesNeeded() external view returns (uint256);
    /// What a settlement in this block would mint for the epoch: whole multiples of 10^9 base units.
    function poolOf(uint64 epoch) external view returns (uint256);
    /// The newest settlement, final or not.
    function lastSettlement() external view returns (Settlement memory);
    /// Only the newest settlement and the newest final one are kept (older ones: the events `Settled`);
    /// all zero for any other epoch.
    function settlementOf(uint64 epoch) external view returns (Settlement memory);
    /// Of the same two: settled, and so for good.
    function isFinal(uint64 epoch) external view returns (bool);
    /// The newest final root; claims are against it.
    function finalRoot() external view returns (bytes32 root, uint64 epoch);
    function claimed(address account) external view returns (uint256);
    /// Sum of the totals of all settlements that were not rejected.
    function cumulativeTotal() external view returns (uint256);

    /// Only Disputes: the newest settlement within its challenge window; one dispute at a time. Returns
    /// whom the challenge accuses, and whether it was held before.
    function hold(uint64 epoch) external returns (address proposer, bool held);
    /// Only Disputes. `bar`: the root was judged bad, it cannot be settled for this epoch again.
    function release(uint64 epoch, bool reject, bool bar) external;
    function punishCommit(uint64 epoch, address node) external;
    /// Randomness of draws: over the last final root, which its epoch's reveals led to, and those of them
    /// that were made on the chain.
    function revealSeed() external view returns (bytes32);
}
