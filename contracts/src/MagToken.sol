// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";

/// The ledger's token. New supply comes from `Epochs` alone, fixed at deployment. It keeps no votes:
/// checkpoints would cost every payment some 25,000 gas; who wants to vote wraps it into `VoteMag`.
///
/// Payments by signature follow EIP-3009, which is what x402 pays with: the payer signs, whoever holds
/// the signature submits it and pays for the gas. Nonces are random 32 bytes, each good for once.
contract MagToken is IMagToken, ERC20, ERC20Burnable, ERC20Permit {
    bytes32 private constant TRANSFER_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant CANCEL_TYPEHASH =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    /// @inheritdoc IMagToken
    address public immutable minter;

    /// @inheritdoc IMagToken
    mapping(address authorizer => mapping(bytes32 nonce => bool used)) public authorizationState;

    /// `holder` gets the genesis supply; nobody has any power over the token but `minter_`.
    constructor(address minter_, address holder, uint256 genesisSupply)
        ERC20("Magnet", "MAG")
        ERC20Permit("Magnet")
    {
        minter = minter_;
        if (genesisSupply != 0) _mint(holder, genesisSupply);
    }

    /// @inheritdoc IMagToken
    function mint(address to, uint256 amount) external {
        if (msg.sender != minter) revert NotMinter(msg.sender);
        _mint(to, amount);
    }

    /// @inheritdoc IMagToken
    function burn(uint256 amount) public override(IMagToken, ERC20Burnable) {
        super.burn(amount);
    }

    /// @inheritdoc IMagToken
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        bytes32 digest =
            _digest(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce);
        _spend(from, validAfter, validBefore, nonce);
        _checkSigner(from, digest, v, r, s);
        _transfer(from, to, value);
    }

    /// @inheritdoc IMagToken
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        bytes32 digest =
            _digest(TRANSFER_TYPEHASH, from, to, value, validAfter, validBefore, nonce);
        _spend(from, validAfter, validBefore, nonce);
        _checkSigner(from, digest, signature);
        _transfer(from, to, value);
    }

    /// @inheritdoc IMagToken
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (to != msg.sender) revert CallerNotPayee(msg.sender, to);
        bytes32 digest = _digest(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce);
        _spend(from, validAfter, validBefore, nonce);
        _checkSigner(from, digest, v, r, s);
        _transfer(from, to, value);
    }

    /// @inheritdoc IMagToken
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) external {
        if (to != msg.sender) revert CallerNotPayee(msg.sender, to);
        bytes32 digest = _digest(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce);
        _spend(from, validAfter, validBefore, nonce);
        _checkSigner(from, digest, signature);
        _transfer(from, to, value);
    }

    /// @inheritdoc IMagToken
    function cancelAuthorization(
        address authorizer,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        _cancel(authorizer, nonce);
        _checkSigner(authorizer, _cancelDigest(authorizer, nonce), v, r, s);
    }

    /// @inheritdoc IMagToken
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature)
        external
    {
        _cancel(authorizer, nonce);
        _checkSigner(authorizer, _cancelDigest(authorizer, nonce), signature);
    }

    /// Uses up the nonce, within its time. Both limits are exclusive, as EIP-3009 says.
    function _spend(address from, uint256 validAfter, uint256 validBefore, bytes32 nonce) private {
        if (block.timestamp <= validAfter) revert AuthorizationNotYetValid(validAfter);
        if (block.timestamp >= validBefore) revert AuthorizationExpired(validBefore);
        if (authorizationState[from][nonce]) revert AuthorizationUsedOrCanceled(from, nonce);
        authorizationState[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
    }

    function _cancel(address authorizer, bytes32 nonce) private {
        if (authorizationState[authorizer][nonce]) {
            revert AuthorizationUsedOrCanceled(authorizer, nonce);
        }
        authorizationState[authorizer][nonce] = true;
        emit AuthorizationCanceled(authorizer, nonce);
    }

    function _cancelDigest(address authorizer, bytes32 nonce) private view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CANCEL_TYPEHASH, authorizer, nonce)));
    }

    function _digest(
        bytes32 typehash,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) private view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(typehash, from, to, value, validAfter, validBefore, nonce))
        );
    }

    /// OpenZeppelin's recovery refuses the malleable twin of a signature (s above half the order).
    function _checkSigner(address signer, bytes32 digest, uint8 v, bytes32 r, bytes32 s)
        private
        pure
    {
        (address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, v, r, s);
        if (problem != ECDSA.RecoverError.NoError || recovered != signer) {
            revert InvalidSignature(signer);
        }
    }

    /// 65 bytes of a key's, or whatever a contract wallet accepts (ERC-1271).
    function _checkSigner(address signer, bytes32 digest, bytes memory signature) private view {
        if (!SignatureChecker.isValidSignatureNow(signer, digest, signature)) {
            revert InvalidSignature(signer);
        }
    }
}
