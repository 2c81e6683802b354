// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IDataRegistry} from "./interfaces/IDataRegistry.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {DisputePlan, Offence} from "./interfaces/ILedgerTypes.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";
import {IRevenue} from "./interfaces/IRevenue.sol";
import {Panels} from "./Panels.sol";
import {Proofs} from "./Proofs.sol";

/// Challenges that a panel of notaries decides. A challenger stakes a bond: back where the charge is
/// upheld or nobody could decide, burned where it is dismissed (to nobody's gain: paid to the jurors it
/// would buy acquittals, paid to the accused it would make challenging oneself free).
///
/// A charge that no quorum decides leaves its subject unproven, and what is unproven is not paid: the
/// root is rejected, the record refused, the job refunded, nobody slashed but the jurors who stayed away.
/// So with one or two notaries, where a case may leave nobody to judge it, a challenge stops a settlement
/// until its time is over: safety before liveness. A network wants four notaries or more.
///
/// Whoever is guilty loses at least half of the slash even by an accomplice's charge, which is why half
/// is burned and the challenger never gets all of it.
contract Disputes is Panels, Proofs {
    using SafeERC20 for IERC20;

    /// Two slots.
    struct Case {
        address accused;
        /// Epoch, record or job.
        uint40 subject;
        uint40 drawBlock;
        Kind kind;
        Phase phase;
        address challenger;
        uint96 bond;
    }

    enum Kind {
        FalseTier,
        Data,
        Job,
        Root
    }

    /// One slot: whether a charge is open, and the first epoch that the next may name.
    struct TierCharge {
        bool open;
        uint40 fromEpoch;
    }

    /// A juror who stays away loses this part of what withholding a vote costs.
    uint16 private constant ABSENCE_PART = 10;
    uint256 private constant JOB = 1 << 255;

    IMagToken public immutable token;
    IDataRegistry public immutable dataRegistry;
    IRevenue public immutable revenue;

    /// Number of the next dispute; they count from 1. Never zero, so that the first one costs no more.
    uint256 private _next = 1;
    mapping(uint256 id => Case) private _cases;
    mapping(address accused => TierCharge) private _tierCharges;

    constructor(
        IMagToken token_,
        IParams params_,
        INodes nodes_,
        IEpochs epochs_,
        IDataRegistry dataRegistry_,
        IRevenue revenue_
    ) Proofs(params_, nodes_, epochs_) {
        token = token_;
        dataRegistry = dataRegistry_;
        revenue = revenue_;
    }

    /// @inheritdoc IDisputes
    function challenge(Offence offence, address accused, bytes32 subject, bytes32 evidenceHash)
        external
        nonReentrant
        returns (uint256 id)
    {
        // One's own accuser would choose the moment, and so the panel, and be paid for it.
        if (accused == msg.sender) revert OwnCase(msg.sender);
        Kind kind = _kind(offence, subject);
        uint256 number = uint256(subject) & ~(kind == Kind.Job ? JOB : 0);
        if (number > type(uint40).max) revert SubjectOutOfRange(subject);
        _hold(kind, accused, uint40(number));

        id = _next++;
        uint96 bond = params.challengerBond();
        // The hash of a block after this one: whoever sends this transaction does not know it yet.
        uint256 drawBlock = params.blockRandomness() ? block.number + 1 : block.number;
        _cases[id] = Case({
            accused: accused,
            subject: uint40(number),
            drawBlock: uint40(drawBlock),
            kind: kind,
            phase: Phase.Drawing,
            challenger: msg.sender,
            bond: bond
        });
        emit Challenged(id, offence, accused, msg.sender, subject, evidenceHash);
        // Nothing of the accused's bond leaves while it may be slashed.
        nodes.lock(accused);
        IERC20(address(token)).safeTransferFrom(msg.sender, address(this), bond);
    }

    /// @inheritdoc IDisputes
    function drawPanel(uint256 id, address[] calldata signers) external nonReentrant {
        Case memory c = _inPhase(id, Phase.Drawing);
        if (block.number <= c.drawBlock) revert NotYet(c.drawBlock);
        bytes32 seed = epochs.revealSeed();
        if (params.blockRandomness()) {
            bytes32 hash = blockhash(c.drawBlock);
            if (hash == 0) {
                // Older than 256 blocks. Waiting for another hash is no lever: until now anybody could
                // have drawn with the first one, which all could see.
                _cases[id].drawBlock = uint40(block.number + 1);
                emit DrawPostponed(id, uint64(block.number + 1));
                return;
            }
            seed = keccak256(abi.encode(seed, hash));
        }
        // As they stood before the draw's block was known: the hash leaves nothing to be arranged.
        (address[] memory seats, uint256[] memory bonds) = nodes.notariesBefore(c.drawBlock + 1);
        _excludeOwnCase(c, signers, seats, bonds);
        DisputePlan memory plan = params.disputePlan();
        seed = keccak256(abi.encode(seed, id));
        address[] memory panel = _seat(id, seed, plan.panelSize, seats, bonds);
        if (panel.length == 0) {
            emit PanelDrawn(id, panel, 0, 0);
            _finish(id, c, Phase.Inconclusive);
            return;
        }
        uint40 commitEnd = uint40(block.timestamp + plan.voteCommitSeconds);
        uint40 revealEnd = commitEnd + plan.voteRevealSeconds;
        uint64 epoch = c.kind == Kind.Root || c.kind == Kind.FalseTier
            ? c.subject
            : params.currentEpoch();
        // Fixed now: no vote of governance changes the stakes of a running case.
        _counts[id].commitEnd = commitEnd;
        _counts[id].revealEnd = revealEnd;
        _counts[id].bps = _bps(_offence(c.kind), epoch);
        _counts[id].absentBps = _bps(Offence.NoReveal, epoch);
        _cases[id].phase = Phase.VoteCommit;
        emit PanelDrawn(id, panel, commitEnd, revealEnd);
    }

    /// @inheritdoc IDisputes
    function commitVote(uint256 id, bytes32 vote) external {
        _inPhase(id, Phase.VoteCommit);
        _commitVote(id, vote);
    }

    /// @inheritdoc IDisputes
    function revealVote(uint256 id, bool guilty, bytes32 salt) external {
        _inPhase(id, Phase.VoteReveal);
        if (block.timestamp >= _counts[id].revealEnd) revert WrongPhase(id, Phase.VoteReveal);
        _revealVote(id, guilty, salt);
    }

    /// @inheritdoc IDisputes
    function resolve(uint256 id) external nonReentrant {
        Case memory c = _inPhase(id, Phase.VoteReveal);
        Count memory count = _counts[id];
        bool allOpened = count.committed == uint256(count.guilty) + count.innocent;
        if (block.timestamp < count.revealEnd && !allOpened) {
            revert WrongPhase(id, Phase.VoteReveal);
        }
        _finish(id, c, _verdict(id));
    }

    /// @inheritdoc IDisputes
    function disputeCount() external view returns (uint256) {
        return _next - 1;
    }

    /// @inheritdoc IDisputes
    function disputeOf(uint256 id) external view returns (Dispute memory dispute) {
        Case memory c = _cases[id];
        Count memory count = _counts[id];
        dispute.phase = _phase(id, c);
        if (dispute.phase == Phase.None) return dispute;
        dispute.offence = _offence(c.kind);
        dispute.accused = c.accused;
        dispute.challenger = c.challenger;
        dispute.subject = bytes32(c.kind == Kind.Job ? JOB | c.subject : c.subject);
        dispute.drawBlock = c.drawBlock;
        dispute.commitEnd = count.commitEnd;
        dispute.revealEnd = count.revealEnd;
        dispute.guiltyVotes = count.guilty;
        dispute.innocentVotes = count.innocent;
        dispute.challengerBond = c.bond;
    }

    /// Everything is written before anybody is paid, and nothing here can be made to revert by those whom
    /// it concerns: a case always ends.
    function _finish(uint256 id, Case memory c, Phase outcome) private {
        _cases[id].phase = outcome;
        if (c.kind == Kind.Root && outcome == Phase.Guilty) _convict(c);
        _releaseSubject(c, outcome);
        nodes.unlock(c.accused);
        uint256 slashed = 0;
        if (outcome == Phase.Guilty) {
            slashed = nodes.slash(c.accused, _counts[id].bps, c.challenger);
        }
        emit Resolved(id, outcome, slashed);
        _slashAbsent(id);
        if (outcome == Phase.Dismissed) token.burn(c.bond);
        else IERC20(address(token)).safeTransfer(c.challenger, c.bond);
    }

    /// Their signers can be punished from now on.
    function _convict(Case memory c) private {
        IEpochs.Settlement memory settlement = epochs.settlementOf(c.subject);
        _convictions[keccak256(abi.encode(uint64(c.subject), settlement.root))] =
            Conviction(settlement.signersTag, c.challenger);
    }

    function _releaseSubject(Case memory c, Phase outcome) private {
        bool reject = outcome != Phase.Dismissed;
        if (c.kind == Kind.Root) {
            // Barred only where judged bad: a true root that nobody could judge may be settled again.
            epochs.release(c.subject, reject, outcome == Phase.Guilty);
        } else if (c.kind == Kind.Data) {
            dataRegistry.release(c.subject, reject);
        } else if (c.kind == Kind.Job) {
            revenue.release(c.subject, reject);
        } else {
            // Time to change the tier before the same can be charged again.
            _tierCharges[c.accused] = TierCharge(false, uint40(params.currentEpoch() + 1));
        }
    }

    /// Staying away costs a little: jurors who never vote would let every charge come to nothing. To vote
    /// and not to open it costs more: that is a choice made after seeing the others'.
    function _slashAbsent(uint256 id) private {
        (address[] memory absent, bool[] memory withheld, uint256 number) = _absent(id);
        uint16 bps = _counts[id].absentBps;
        for (uint256 i = 0; i < number; ++i) {
            uint16 rate = withheld[i] ? bps : bps / ABSENCE_PART;
            emit Absent(id, absent[i], nodes.slash(absent[i], rate, address(0)));
        }
    }

    /// Checks the charge against its subject and stops the subject until the case ends.
    function _hold(Kind kind, address accused, uint40 subject) private {
        address expected = accused;
        if (kind == Kind.Root) {
            bool held;
            (expected, held) = epochs.hold(subject);
            // One at a time: the panel judges the root, not who found it.
            if (held) revert AlreadyDisputed(Offence.BadRoot, accused, bytes32(uint256(subject)));
        } else if (kind == Kind.Data) {
            expected = dataRegistry.hold(subject);
        } else if (kind == Kind.Job) {
            address requester;
            (expected, requester) = revenue.hold(subject);
            if (msg.sender != requester) revert NotRequester(msg.sender, requester);
        } else {
            _holdTier(accused, subject);
        }
        if (expected != accused) revert WrongAccused(accused, expected);
    }

    function _holdTier(address accused, uint40 subject) private {
        TierCharge memory charge = _tierCharges[accused];
        if (charge.open) {
            revert AlreadyDisputed(Offence.FalseTier, accused, bytes32(uint256(subject)));
        }
        uint64 now_ = params.currentEpoch();
        if (subject < charge.fromEpoch || subject > now_ || subject + 1 < now_) {
            revert SubjectOutOfRange(bytes32(uint256(subject)));
        }
        if (!nodes.nodeOf(accused).registered) revert INodes.NotRegistered(accused);
        _tierCharges[accused].open = true;
    }

    /// Nobody judges the own case: takes accused, challenger and a root's signers out of the weights.
    function _excludeOwnCase(
        Case memory c,
        address[] calldata signers,
        address[] memory seats,
        uint256[] memory bonds
    ) private view {
        if (c.kind == Kind.Root) {
            bytes16 expected = epochs.settlementOf(c.subject).signersTag;
            if (bytes16(keccak256(abi.encode(signers))) != expected) revert WrongSigners();
        } else if (signers.length != 0) {
            revert WrongSigners();
        }
        for (uint256 i = 0; i < seats.length; ++i) {
            bool own = seats[i] == c.accused || seats[i] == c.challenger;
            for (uint256 j = 0; j < signers.length && !own; ++j) {
                own = seats[i] == signers[j];
            }
            if (own) bonds[i] = 0;
        }
    }

    function _inPhase(uint256 id, Phase wanted) private view returns (Case memory c) {
        c = _cases[id];
        Phase phase = _phase(id, c);
        if (phase == Phase.None) revert UnknownDispute(id);
        if (phase != wanted) revert WrongPhase(id, phase);
    }

    /// Votes are opened once the time is over, or once all have voted.
    function _phase(uint256 id, Case memory c) private view returns (Phase) {
        if (c.phase != Phase.VoteCommit) return c.phase;
        bool closed = block.timestamp >= _counts[id].commitEnd || _allCommitted(id);
        return closed ? Phase.VoteReveal : Phase.VoteCommit;
    }

    function _kind(Offence offence, bytes32 subject) private pure returns (Kind) {
        if (offence == Offence.BadRoot) return Kind.Root;
        if (offence == Offence.FalseTier) return Kind.FalseTier;
        // What the chain can see needs no panel.
        if (offence != Offence.BadData) revert NotAnOffence();
        return uint256(subject) & JOB != 0 ? Kind.Job : Kind.Data;
    }

    function _offence(Kind kind) private pure returns (Offence) {
        if (kind == Kind.Root) return Offence.BadRoot;
        return kind == Kind.FalseTier ? Offence.FalseTier : Offence.BadData;
    }
}
