// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Data sets: pending, challenged or confirmed after a window, then the fee is split (paper 13.3).
interface IDataRegistry {
    error AlreadyRegistered(bytes32 contentHash);
    error UnknownRecord(uint256 id);
    error WrongState(uint256 id, State state);
    error WindowOpen(uint64 until);
    error NotActive(address node);
    error NotDisputes(address caller);
    error UriTooLong(uint256 length);
    /// The record's challenge window is over.
    error WindowOver(uint64 until);
    error EmptyRecord();

    enum State { None, Pending, Challenged, Confirmed, Rejected }

    struct Record {
        State state;
        address contributor;
        uint64 registeredAt;
        uint64 challengeEnd;
        bytes32 contentHash;
        uint256 sizeBytes;
        uint256 fee;
        string uri;
    }

    event DataRegistered(
        uint256 indexed id, address indexed contributor, bytes32 indexed contentHash, uint256 sizeBytes, string uri
    );
    event DataChallenged(uint256 indexed id);
    event DataConfirmed(uint256 indexed id, uint256 provider, uint256 treasury, uint256 burned);
    event DataRejected(uint256 indexed id);
    /// The challenge came to nothing; the rest of the window runs on.
    event DataReleased(uint256 indexed id, uint64 challengeEnd);

    /// By an active node; takes the fee of Values.dataFee by transferFrom. The URI has 256 bytes at most.
    function registerData(bytes32 contentHash, uint256 sizeBytes, string calldata uri) external returns (uint256 id);
    /// After the window: splits the fee. The provider's share goes back to the contributor.
    function confirm(uint256 id) external;
    function recordOf(uint256 id) external view returns (Record memory);
    function recordByHash(bytes32 contentHash) external view returns (uint256 id);
    function recordCount() external view returns (uint256);
    /// Only Disputes: a pending record in its window. Returns whom the challenge accuses.
    function hold(uint256 id) external returns (address contributor);
    /// Only Disputes.
    function release(uint256 id, bool reject) external;
}
