// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {Offence} from "./interfaces/ILedgerTypes.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// Offences that the chain itself can see: no panel, no bond of a challenger, no way to dispute them.
/// Whoever shows one earns half of what is slashed. Rates are those of the epoch of the offence, not of
/// the day it is shown: a vote to change them reaches back to nobody.
abstract contract Proofs is IDisputes, EIP712, ReentrancyGuardTransient {
    /// A root that a panel has judged bad.
    struct Conviction {
        bytes16 signersTag;
        /// Of the dispute: who proved the root bad has earned its signers' bonds too, not whoever is
        /// quick to call.
        address challenger;
    }

    bytes32 private constant COMMIT_TYPEHASH = keccak256("Commit(uint64 epoch,bytes32 commitment)");
    bytes32 private constant REVEAL_TYPEHASH =
        keccak256("Reveal(uint64 epoch,bytes32 resultHash,uint256 score,bytes32 nonce)");

    IParams public immutable params;
    INodes public immutable nodes;
    IEpochs public immutable epochs;

    /// Once an epoch at most, by whichever of the three ways it is shown.
    mapping(uint64 epoch => mapping(address node => bool)) private _mismatchPunished;
    /// By keccak256(abi.encode(epoch, root)).
    mapping(bytes32 key => Conviction) internal _convictions;

    constructor(IParams params_, INodes nodes_, IEpochs epochs_) EIP712("Magnet Disputes", "1") {
        params = params_;
        nodes = nodes_;
        epochs = epochs_;
    }

    /// @inheritdoc IDisputes
    function punishNoReveal(uint64 epoch, address node) external nonReentrant {
        if (epochs.commitState(epoch, node) != IEpochs.CommitState.Committed) revert NotAnOffence();
        (,, uint64 revealEnd,,) = epochs.windowsOf(epoch);
        if (block.timestamp < revealEnd) revert NotAnOffence();
        epochs.punishCommit(epoch, node);
        _punish(Offence.NoReveal, epoch, node, _reporter(node));
    }

    /// @inheritdoc IDisputes
    function punishMismatch(uint64 epoch, address node) external nonReentrant {
        if (epochs.commitState(epoch, node) != IEpochs.CommitState.Mismatched) {
            revert NotAnOffence();
        }
        epochs.punishCommit(epoch, node);
        _punishMismatch(epoch, node);
    }

    /// @inheritdoc IDisputes
    function proveMismatch(
        uint64 epoch,
        address node,
        bytes32 commitment,
        bytes calldata commitSignature,
        bytes32 resultHash,
        uint256 score,
        bytes32 nonce,
        bytes calldata revealSignature
    ) external nonReentrant {
        _requireCommitment(epoch, node, commitment, commitSignature);
        bytes32 opened = epochs.commitmentOf(epoch, node, resultHash, score, nonce);
        if (opened == commitment) revert NotAnOffence();
        bytes32 reveal = keccak256(abi.encode(REVEAL_TYPEHASH, epoch, resultHash, score, nonce));
        _requireSigner(node, reveal, revealSignature);
        _punishMismatch(epoch, node);
    }

    /// @inheritdoc IDisputes
    function proveDoubleCommit(
        uint64 epoch,
        address node,
        bytes32 first,
        bytes calldata firstSignature,
        bytes32 second,
        bytes calldata secondSignature
    ) external nonReentrant {
        // Two signatures over one commitment are no offence, in whatever form they come.
        if (first == second) revert NotAnOffence();
        _requireCommitment(epoch, node, first, firstSignature);
        _requireCommitment(epoch, node, second, secondSignature);
        _punishMismatch(epoch, node);
    }

    /// @inheritdoc IDisputes
    function punishApprovers(uint64 epoch, bytes32 root, address[] calldata signers)
        external
        nonReentrant
    {
        bytes32 key = keccak256(abi.encode(epoch, root));
        Conviction memory conviction = _convictions[key];
        if (conviction.signersTag == 0) revert NotAnOffence();
        if (bytes16(keccak256(abi.encode(signers))) != conviction.signersTag) revert WrongSigners();
        delete _convictions[key];
        // As many as a settlement needs signatures: at most 11.
        for (uint256 i = 0; i < signers.length; ++i) {
            // A signer who brought the charge in person earns nothing of the own bond.
            address earner = signers[i] == conviction.challenger ? address(0) : conviction.challenger;
            _punish(Offence.FraudulentApproval, epoch, signers[i], earner);
        }
    }

    function _punishMismatch(uint64 epoch, address node) private {
        if (_mismatchPunished[epoch][node]) {
            revert AlreadyPunished(Offence.Mismatch, node, bytes32(uint256(epoch)));
        }
        _mismatchPunished[epoch][node] = true;
        _punish(Offence.Mismatch, epoch, node, _reporter(node));
    }

    function _punish(Offence offence, uint64 epoch, address node, address earner) private {
        uint16 bps = _bps(offence, epoch);
        uint256 slashed = nodes.slash(node, bps, earner);
        emit Punished(offence, node, bytes32(uint256(epoch)), msg.sender, slashed);
    }

    /// Nobody earns by reporting oneself; all is burned then.
    function _reporter(address node) private view returns (address) {
        return msg.sender == node ? address(0) : msg.sender;
    }

    function _bps(Offence offence, uint64 epoch) internal view returns (uint16) {
        return params.valuesAt(epoch).slashBps[uint256(offence)];
    }

    /// Signed by the node, or made by it on the chain. The domain names chain and contract, the message
    /// its epoch: what was signed for another is no evidence here.
    function _requireCommitment(
        uint64 epoch,
        address node,
        bytes32 commitment,
        bytes calldata signature
    ) private view {
        if (signature.length == 0) {
            if (commitment == 0 || epochs.commitmentAt(epoch, node) != commitment) {
                revert NotSigner(node);
            }
            return;
        }
        bytes32 message = keccak256(abi.encode(COMMIT_TYPEHASH, epoch, commitment));
        _requireSigner(node, message, signature);
    }

    function _requireSigner(address node, bytes32 message, bytes calldata signature) private view {
        (address signer, ECDSA.RecoverError failure,) =
            ECDSA.tryRecoverCalldata(_hashTypedDataV4(message), signature);
        if (failure != ECDSA.RecoverError.NoError || signer != node) revert NotSigner(node);
    }
}
