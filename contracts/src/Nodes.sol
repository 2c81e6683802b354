// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EpochPlan, Tier} from "./interfaces/ILedgerTypes.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {INodes} from "./interfaces/INodes.sol";
import {IParams} from "./interfaces/IParams.sol";
import {Seats} from "./Seats.sol";

/// Who takes part: keys, tiers, bonds and notaries' seats. It holds the bonds and pays each amount out
/// once: to its owner after the unbonding time, or, slashed, half to the flames and half to the
/// challenger.
contract Nodes is INodes, Seats, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    struct Account {
        bytes32 nodeId;
        // One slot from here to `locks`: what nearly every call reads.
        uint96 bond;
        uint40 registeredEpoch;
        uint40 tierFrom;
        Tier tierBefore;
        Tier tierNext;
        /// Index of the notary's seat plus one; 0: none.
        uint8 seat;
        bool registered;
        bool banned;
        uint32 locks;
        // One slot.
        uint96 unbonding;
        uint64 releaseTime;
        /// Block in which the notary's bond was last put in or added to.
        uint40 seatBlock;
    }

    uint256 private constant BPS = 10_000;

    IMagToken public immutable token;
    IParams public immutable params;
    /// The only contract that may slash and lock.
    address public immutable disputes;

    mapping(address node => Account) private _accounts;
    /// @inheritdoc INodes
    mapping(bytes32 nodeId => address node) public addressOf;

    modifier onlyDisputes() {
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        _;
    }

    constructor(IMagToken token_, IParams params_, address disputes_) {
        token = token_;
        params = params_;
        disputes = disputes_;
    }

    /// @inheritdoc INodes
    function register(bytes32 x, bytes32 y, Tier tier, uint256 bond) external nonReentrant {
        address owner = address(uint160(uint256(keccak256(abi.encodePacked(x, y)))));
        if (owner != msg.sender) revert KeyNotOfCaller(owner, msg.sender);
        Account storage account = _accounts[owner];
        if (account.registered) revert AlreadyRegistered(owner);
        _reach(bond, params.tierBond(tier));

        // A compressed key begins with 2 where y is even, 3 where it is odd.
        bytes32 nodeId = sha256(abi.encodePacked(uint8(2 + (uint256(y) & 1)), x));
        uint40 epoch = uint256(params.currentEpoch()).toUint40();
        account.nodeId = nodeId;
        account.bond = bond.toUint96();
        account.registeredEpoch = epoch;
        account.tierFrom = epoch;
        account.tierBefore = tier;
        account.tierNext = tier;
        account.registered = true;
        addressOf[nodeId] = owner;
        emit Registered(owner, nodeId, tier, bond);
        _take(bond);
    }

    /// @inheritdoc INodes
    function changeTier(Tier tier) external {
        Account storage account = _member(msg.sender);
        if (account.locks != 0) revert UnderDispute(msg.sender);
        if (account.tierBefore != account.tierNext) {
            EpochPlan memory plan = params.planAt(account.tierFrom - 1);
            uint64 until = plan.end + plan.settleSeconds;
            if (block.timestamp < until) revert TierJustChanged(until);
        }
        _reach(account.bond, params.tierBond(tier));
        uint64 from = params.currentEpoch() + 1;
        account.tierBefore = account.tierNext;
        account.tierNext = tier;
        account.tierFrom = uint256(from).toUint40();
        emit TierChanged(msg.sender, tier, from);
    }

    /// @inheritdoc INodes
    function addBond(uint256 amount) external nonReentrant {
        if (amount == 0) revert ZeroAmount();
        Account storage account = _member(msg.sender);
        uint256 bond = account.bond + amount;
        account.bond = bond.toUint96();
        emit Bonded(msg.sender, amount, bond);
        _take(amount);
    }

    /// @inheritdoc INodes
    function unbond(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        Account storage account = _accounts[msg.sender];
        uint256 bond = account.bond;
        if (amount > bond) revert BondTooSmall(bond, amount);
        uint256 rest = bond - amount;
        if (rest != 0) _reach(rest, _leastBond(account));
        account.bond = uint96(rest);
        _release(msg.sender, amount);
        if (rest == 0 && account.seat != 0) _vacate(msg.sender);
    }

    /// @inheritdoc INodes
    function withdraw() external nonReentrant {
        Account storage account = _accounts[msg.sender];
        uint256 amount = account.unbonding;
        if (amount == 0) revert NothingToWithdraw();
        if (account.locks != 0) revert UnderDispute(msg.sender);
        if (block.timestamp < account.releaseTime) revert StillUnbonding(account.releaseTime);
        account.unbonding = 0;
        account.releaseTime = 0;
        emit Withdrawn(msg.sender, amount);
        IERC20(address(token)).safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc INodes
    function takeSeat(uint256 amount) external nonReentrant {
        Account storage account = _member(msg.sender);
        if (amount == 0) revert ZeroAmount();
        _reach(account.bond, _leastBond(account));
        uint256 bond = amount;
        uint256 index;
        if (account.seat != 0) {
            index = account.seat - 1;
            bond += _seatAt(index).bond;
            _reach(bond, params.notaryBond());
        } else {
            _reach(bond, params.notaryBond());
            index = _freeSeat(bond);
            account.seat = uint8(index + 1);
        }
        account.seatBlock = block.number.toUint40();
        _writeSeat(index, Seat(msg.sender, bond.toUint96()));
        emit NotarySeated(msg.sender, bond);
        _take(amount);
    }

    /// @inheritdoc INodes
    function leaveSeat() external {
        if (_accounts[msg.sender].seat == 0) revert NotNotary(msg.sender);
        _vacate(msg.sender);
    }

    /// @inheritdoc INodes
    function slash(address node, uint16 bps, address challenger)
        external
        onlyDisputes
        nonReentrant
        returns (uint256 amount)
    {
        Account storage account = _accounts[node];
        if (!account.registered) revert NotRegistered(node);
        uint256 cut = (account.bond * uint256(bps)) / BPS;
        account.bond -= uint96(cut);
        amount = cut;
        cut = (account.unbonding * uint256(bps)) / BPS;
        account.unbonding -= uint96(cut);
        amount += cut;
        if (bps >= BPS) account.banned = true;
        if (account.seat != 0) amount += _slashSeat(node, account, bps);

        uint256 reward = challenger == address(0) ? 0 : amount / 2;
        emit Slashed(node, amount, account.bond, challenger, reward);
        if (amount != reward) token.burn(amount - reward);
        if (reward != 0) IERC20(address(token)).safeTransfer(challenger, reward);
    }

    /// @inheritdoc INodes
    function lock(address node) external onlyDisputes {
        _accounts[node].locks += 1;
    }

    /// @inheritdoc INodes
    function unlock(address node) external onlyDisputes {
        _accounts[node].locks -= 1;
    }

    /// @inheritdoc INodes
    function isActive(address node) external view returns (bool) {
        Account storage account = _accounts[node];
        if (!account.registered || account.banned) return false;
        return account.bond >= params.tierBond(_tierNow(account));
    }

    /// @inheritdoc INodes
    function tierAt(address node, uint64 epoch) external view returns (Tier) {
        return _tierAt(_accounts[node], epoch);
    }

    /// @inheritdoc INodes
    function nodeOf(address node) external view returns (Node memory view_) {
        Account storage account = _accounts[node];
        view_.nodeId = account.nodeId;
        view_.tier = _tierNow(account);
        view_.registered = account.registered;
        view_.banned = account.banned;
        view_.registeredEpoch = account.registeredEpoch;
        view_.bond = account.bond;
        view_.unbonding = account.unbonding;
        view_.releaseTime = account.releaseTime;
        if (account.seat != 0) view_.notaryBond = _seatAt(account.seat - 1).bond;
        view_.tierNext = account.tierNext;
        view_.tierBefore = account.tierBefore;
        view_.tierFrom = account.tierFrom;
        view_.locks = account.locks;
    }

    /// @inheritdoc INodes
    function isNotary(address node) external view returns (bool) {
        return _accounts[node].seat != 0;
    }

    /// @inheritdoc INodes
    function notaryCount() external view returns (uint256) {
        return _seatCount();
    }

    /// @inheritdoc INodes
    function notaries() public view returns (address[] memory seats, uint256[] memory bonds) {
        uint256 count = _seatCount();
        seats = new address[](count);
        bonds = new uint256[](count);
        for (uint256 i = 0; i < count; ++i) {
            Seat memory seat = _seatAt(i);
            seats[i] = seat.node;
            bonds[i] = seat.bond;
        }
    }

    /// @inheritdoc INodes
    function notariesBefore(uint256 blockNumber)
        external
        view
        returns (address[] memory seats, uint256[] memory bonds)
    {
        (seats, bonds) = notaries();
        for (uint256 i = 0; i < seats.length; ++i) {
            if (_accounts[seats[i]].seatBlock >= blockNumber) bonds[i] = 0;
        }
    }

    /// @inheritdoc INodes
    function drawNotary(bytes32 seed) external view returns (address) {
        return _draw(seed);
    }

    /// @inheritdoc INodes
    function council(bytes32 seed, address[] calldata accounts)
        external
        view
        returns (address drawn, uint256 count, uint256 seated)
    {
        count = _seatCount();
        if (seed != 0) drawn = _draw(seed);
        while (seated < accounts.length && _accounts[accounts[seated]].seat != 0) ++seated;
    }

    /// A free seat's index, else the least bonded one's, whose notary is sent away.
    function _freeSeat(uint256 bond) private returns (uint256 index) {
        if (_seatCount() < MAX_SEATS) return _addSeat();
        Seat memory least;
        (index, least) = _leastSeat();
        if (bond <= least.bond) revert NoSeat(least.bond);
        _accounts[least.node].seat = 0;
        emit NotaryLeft(least.node);
        _release(least.node, least.bond);
    }

    /// Empties the node's seat; its bond goes the way of unbonding.
    function _vacate(address node) private {
        Account storage account = _accounts[node];
        uint256 index = account.seat - 1;
        uint256 bond = _seatAt(index).bond;
        account.seat = 0;
        address moved = _removeSeat(index);
        if (moved != address(0)) _accounts[moved].seat = uint8(index + 1);
        emit NotaryLeft(node);
        if (bond != 0) _release(node, bond);
    }

    /// Cuts the seat's bond; a notary left with less than the least, or banned, loses the seat.
    function _slashSeat(address node, Account storage account, uint16 bps)
        private
        returns (uint256 cut)
    {
        uint256 index = account.seat - 1;
        uint256 bond = _seatAt(index).bond;
        cut = (bond * bps) / BPS;
        _writeSeat(index, Seat(node, uint96(bond - cut)));
        if (account.banned || bond - cut < params.notaryBond()) _vacate(node);
    }

    function _release(address node, uint256 amount) private {
        Account storage account = _accounts[node];
        uint64 releaseTime = uint64(block.timestamp + params.unbondingSeconds());
        account.unbonding += amount.toUint96();
        // Never sooner than promised before, even where governance has shortened the time since.
        if (releaseTime > account.releaseTime) account.releaseTime = releaseTime;
        emit Unbonding(node, amount, account.bond, account.releaseTime);
    }

    function _take(uint256 amount) private {
        IERC20(address(token)).safeTransferFrom(msg.sender, address(this), amount);
    }

    function _member(address node) private view returns (Account storage account) {
        account = _accounts[node];
        if (!account.registered) revert NotRegistered(node);
        if (account.banned) revert Banned(node);
    }

    /// The least bond of the tier in force and of the one asked for.
    function _leastBond(Account storage account) private view returns (uint256 least) {
        Tier now_ = _tierNow(account);
        least = params.tierBond(now_);
        if (account.tierNext != now_) {
            uint256 next = params.tierBond(account.tierNext);
            if (next > least) least = next;
        }
    }

    function _tierNow(Account storage account) private view returns (Tier) {
        if (account.tierBefore == account.tierNext) return account.tierNext;
        return _tierAt(account, params.currentEpoch());
    }

    function _tierAt(Account storage account, uint64 epoch) private view returns (Tier) {
        return epoch >= account.tierFrom ? account.tierNext : account.tierBefore;
    }

    function _reach(uint256 bond, uint256 least) private pure {
        if (bond < least) revert BondTooSmall(bond, least);
    }
}
