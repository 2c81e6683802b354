// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Activity} from "./interfaces/ILedgerTypes.sol";
import {IDataRegistry} from "./interfaces/IDataRegistry.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";
import {Splitter} from "./Splitter.sol";

/// Data sets by content hash. Each waits out a window in which it can be challenged; then its fee is
/// split, the provider's part back to the contributor. It holds the fees of what waits.
contract DataRegistry is IDataRegistry, Splitter, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    uint256 public constant MAX_URI = 256;

    INodes public immutable nodes;
    /// The only contract that may hold and reject.
    address public immutable disputes;

    /// Records count from 1.
    uint256 public recordCount;
    mapping(uint256 id => Record) private _records;
    mapping(uint256 id => uint64 since) private _heldSince;
    /// @inheritdoc IDataRegistry
    mapping(bytes32 contentHash => uint256 id) public recordByHash;

    modifier onlyDisputes() {
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        _;
    }

    constructor(IMagToken token_, IParams params_, INodes nodes_, address disputes_)
        Splitter(token_, params_)
    {
        nodes = nodes_;
        disputes = disputes_;
    }

    /// @inheritdoc IDataRegistry
    function registerData(bytes32 contentHash, uint256 sizeBytes, string calldata uri)
        external
        nonReentrant
        returns (uint256 id)
    {
        if (!nodes.isActive(msg.sender)) revert NotActive(msg.sender);
        if (contentHash == bytes32(0) || sizeBytes == 0) revert EmptyRecord();
        if (bytes(uri).length > MAX_URI) revert UriTooLong(bytes(uri).length);
        if (recordByHash[contentHash] != 0) revert AlreadyRegistered(contentHash);

        id = ++recordCount;
        recordByHash[contentHash] = id;
        uint256 fee = params.dataFee();
        Record storage record = _records[id];
        record.state = State.Pending;
        record.contributor = msg.sender;
        record.registeredAt = uint64(block.timestamp);
        record.challengeEnd = uint64(block.timestamp + params.dataChallengeSeconds());
        record.contentHash = contentHash;
        record.sizeBytes = sizeBytes;
        record.fee = fee;
        record.uri = uri;
        emit DataRegistered(id, msg.sender, contentHash, sizeBytes, uri);
        if (fee != 0) IERC20(address(token)).safeTransferFrom(msg.sender, address(this), fee);
    }

    /// @inheritdoc IDataRegistry
    function confirm(uint256 id) external nonReentrant {
        Record storage record = _known(id);
        if (record.state != State.Pending) revert WrongState(id, record.state);
        if (block.timestamp < record.challengeEnd) revert WindowOpen(record.challengeEnd);
        record.state = State.Confirmed;
        (uint256 provider, uint256 treasury, uint256 burned) =
            _parts(record.fee, _epochOf(record.registeredAt), Activity.DataFee);
        emit DataConfirmed(id, provider, treasury, burned);
        _pay(record.contributor, provider, treasury, burned);
    }

    /// @inheritdoc IDataRegistry
    function hold(uint256 id) external onlyDisputes returns (address contributor) {
        Record storage record = _known(id);
        if (record.state != State.Pending) revert WrongState(id, record.state);
        if (block.timestamp >= record.challengeEnd) revert WindowOver(record.challengeEnd);
        record.state = State.Challenged;
        _heldSince[id] = uint64(block.timestamp);
        emit DataChallenged(id);
        return record.contributor;
    }

    /// @inheritdoc IDataRegistry
    function release(uint256 id, bool reject) external onlyDisputes nonReentrant {
        Record storage record = _known(id);
        if (record.state != State.Challenged) revert WrongState(id, record.state);
        if (reject) {
            record.state = State.Rejected;
            delete recordByHash[record.contentHash];
            emit DataRejected(id);
            if (record.fee != 0) token.burn(record.fee);
        } else {
            record.state = State.Pending;
            record.challengeEnd += uint64(block.timestamp) - _heldSince[id];
            emit DataReleased(id, record.challengeEnd);
        }
        delete _heldSince[id];
    }

    /// @inheritdoc IDataRegistry
    function recordOf(uint256 id) external view returns (Record memory) {
        return _known(id);
    }

    function _known(uint256 id) private view returns (Record storage record) {
        record = _records[id];
        if (record.state == State.None) revert UnknownRecord(id);
    }

    /// The fee is split as was promised when it was paid.
    function _epochOf(uint64 time) private view returns (uint64) {
        uint64 genesis = params.genesis();
        return time < genesis ? 0 : (time - genesis) / params.epochSeconds();
    }
}
