// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Offence} from "./ILedgerTypes.sol";

/// Challenges, notary panels, slashing. Offences that the chain can see are judged at once; the others
/// by a panel with commit-reveal votes.
interface IDisputes {
    error NotAnOffence();
    error UnknownDispute(uint256 id);
    error WrongPhase(uint256 id, Phase phase);
    error AlreadyDisputed(Offence offence, address accused, bytes32 subject);
    error NotOnPanel(address caller);
    error AlreadyVoted(address caller);
    error VoteDoesNotMatch();
    /// Too early: the draw's block lies ahead.
    error NotYet(uint256 blockNumber);
    error NotSigner(address account);
    error OwnCase(address caller);
    /// Only a job's requester brings it before the panel.
    error NotRequester(address caller, address requester);
    /// These are not the settlement's signers.
    error WrongSigners();
    /// The node was slashed for this already.
    error AlreadyPunished(Offence offence, address node, bytes32 subject);
    /// The subject names somebody else.
    error WrongAccused(address accused, address expected);
    /// FalseTier: the subject is the running epoch or the one before, not yet judged for the accused.
    error SubjectOutOfRange(bytes32 subject);

    enum Phase { None, Drawing, VoteCommit, VoteReveal, Guilty, Dismissed, Inconclusive }

    struct Dispute {
        Offence offence;
        Phase phase;
        address accused;
        address challenger;
        /// Epoch or data record, left-padded; a research job has the highest bit set besides.
        bytes32 subject;
        uint64 drawBlock;
        uint64 commitEnd;
        uint64 revealEnd;
        uint8 guiltyVotes;
        uint8 innocentVotes;
        uint256 challengerBond;
    }

    /// `evidenceHash`: SHA-256 of the evidence, which travels apart. It stands here and nowhere else.
    event Challenged(
        uint256 indexed id, Offence indexed offence, address indexed accused, address challenger,
        bytes32 subject, bytes32 evidenceHash
    );
    event PanelDrawn(uint256 indexed id, address[] panel, uint64 commitEnd, uint64 revealEnd);
    /// Nobody drew while the block's hash was to be had: another block was fixed.
    event DrawPostponed(uint256 indexed id, uint64 drawBlock);
    event VoteCommitted(uint256 indexed id, address indexed notary);
    event VoteRevealed(uint256 indexed id, address indexed notary, bool guilty);
    /// A notary of the panel that did not vote.
    event Absent(uint256 indexed id, address indexed notary, uint256 slashed);
    event Resolved(uint256 indexed id, Phase outcome, uint256 slashed);
    /// An offence that the chain itself has seen.
    event Punished(Offence indexed offence, address indexed node, bytes32 subject, address reporter, uint256 slashed);

    /// Stakes the challenger's bond by transferFrom. BadRoot (subject = epoch, accused = its proposer)
    /// holds the settlement; BadData (subject = record id) holds the record. BadData of a research
    /// job (subject = (1 << 255) | id, accused = its worker) is for the requester alone, after
    /// `IRevenue.contestResult`. FalseTier: subject = the running epoch or the one before.
    function challenge(Offence offence, address accused, bytes32 subject, bytes32 evidenceHash)
        external returns (uint256 id);
    /// Draws the panel by notary bond once `drawBlock` is over; anyone. `signers`: for BadRoot those of
    /// the settlement (event `Settled`), who do not judge their own root; else empty. Where no notary is
    /// left to judge, the dispute ends inconclusive at once.
    function drawPanel(uint256 id, address[] calldata signers) external;
    /// keccak256(abi.encode(chainid, address(this), id, notary, guilty, salt)).
    function commitVote(uint256 id, bytes32 vote) external;
    function revealVote(uint256 id, bool guilty, bytes32 salt) external;
    /// After the votes' window, or once all of the panel have voted; anyone. Guilty with 2f + 1 votes of
    /// a panel of 3f + 1 (of two or three: with all; of one: only where there are fewer than four
    /// notaries), dismissed with f + 1 votes for innocent (of two or three: with two), else inconclusive:
    /// the subject is then not upheld and nobody but the absent notaries is slashed.
    function resolve(uint256 id) external;

    /// Automatic: a commitment on the chain whose reveal window closed unopened.
    function punishNoReveal(uint64 epoch, address node) external;
    /// Automatic: a reveal on the chain that did not match.
    function punishMismatch(uint64 epoch, address node) external;
    /// Automatic: a gossiped commitment and an opening of it, both signed by the node (EIP-712 domain
    /// "Magnet Disputes", "1": Commit(uint64 epoch,bytes32 commitment), Reveal(uint64 epoch,bytes32
    /// resultHash,uint256 score,bytes32 nonce)), that do not belong together. Here and in the next an
    /// empty signature of a commitment stands for the one that the node made on the chain.
    function proveMismatch(
        uint64 epoch, address node, bytes32 commitment, bytes calldata commitSignature,
        bytes32 resultHash, uint256 score, bytes32 nonce, bytes calldata revealSignature
    ) external;
    /// Automatic: two different signed commitments of one node for one epoch.
    function proveDoubleCommit(
        uint64 epoch, address node, bytes32 first, bytes calldata firstSignature,
        bytes32 second, bytes calldata secondSignature
    ) external;
    /// Automatic: the notaries whose signatures carried a root that was judged bad.
    function punishApprovers(uint64 epoch, bytes32 root, address[] calldata signers) external;

    function disputeOf(uint256 id) external view returns (Dispute memory);
    function disputeCount() external view returns (uint256);
    function panelOf(uint256 id) external view returns (address[] memory);
}
