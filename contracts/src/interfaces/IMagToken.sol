// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The ledger's token: ERC-20 with permit, EIP-3009 and burning. EIP-712 name "Magnet", version "1",
/// 18 decimals, symbol MAG. Only `Epochs` mints. (ERC-20's and EIP-2612's own functions are inherited
/// and not repeated here.)
interface IMagToken {
    /// Caller is not the minter.
    error NotMinter(address caller);
    /// The authorization is not valid yet, or no longer.
    error AuthorizationNotYetValid(uint256 validAfter);
    error AuthorizationExpired(uint256 validBefore);
    /// The authorization was used or cancelled before.
    error AuthorizationUsedOrCanceled(address authorizer, bytes32 nonce);
    /// The signature is not the authorizer's (malleable ones included).
    error InvalidSignature(address authorizer);
    /// receiveWithAuthorization: only the payee may call.
    error CallerNotPayee(address caller, address payee);

    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    /// `Epochs`, for ever.
    function minter() external view returns (address);
    function mint(address to, uint256 amount) external;
    function burn(uint256 amount) external;
    /// Whether the nonce was used or cancelled.
    function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
    /// Moves `value` on the payer's signature, between the two times (both exclusive), once a nonce.
    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
        uint8 v, bytes32 r, bytes32 s
    ) external;
    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
        bytes memory signature
    ) external;
    /// As above, but only the payee may submit it: nobody can run ahead of a contract that is paid.
    function receiveWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
        uint8 v, bytes32 r, bytes32 s
    ) external;
    function receiveWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
        bytes memory signature
    ) external;
    /// Makes a nonce void that was not used yet.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature) external;
}
