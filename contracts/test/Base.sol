// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// What every test starts from: forge's cheats, checks that say both sides, the choice of what the
/// invariants' fuzzer may call. A test is a contract with functions `test...` (fuzzed where they take
/// arguments) or `invariant...`.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    // Marks a contract as a test to forge.
    bool public constant IS_TEST = true;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    address[] private _targets;
    address[] private _senders;
    FuzzSelector[] private _selectors;

    error Different(string what, uint256 left, uint256 right);
    error DifferentWords(string what, bytes32 left, bytes32 right);
    error DifferentAddresses(string what, address left, address right);
    error NotSo(string what);
    error TooLarge(string what, uint256 value, uint256 most);

    function check(bool condition, string memory what) internal pure {
        if (!condition) revert NotSo(what);
    }

    function eq(uint256 left, uint256 right, string memory what) internal pure {
        if (left != right) revert Different(what, left, right);
    }

    function eq(bytes32 left, bytes32 right, string memory what) internal pure {
        if (left != right) revert DifferentWords(what, left, right);
    }

    function eq(address left, address right, string memory what) internal pure {
        if (left != right) revert DifferentAddresses(what, left, right);
    }

    function le(uint256 value, uint256 most, string memory what) internal pure {
        if (value > most) revert TooLarge(what, value, most);
    }

    /// The next call must revert with this error; any arguments.
    function expectError(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }

    /// `x` folded into [lo, hi].
    function bound(uint256 x, uint256 lo, uint256 hi) internal pure returns (uint256) {
        if (x >= lo && x <= hi) return x;
        uint256 size = hi - lo + 1;
        return size == 0 ? x : lo + x % size;
    }

    /// A key and its address from a name, for people of a play.
    function actor(string memory name) internal returns (Vm.Wallet memory) {
        return vm.createWallet(uint256(keccak256(bytes(name))) >> 1);
    }

    // What the fuzzer of invariants may call; forge reads these functions.
    function targetContract(address target) internal {
        _targets.push(target);
    }

    function targetSelector(FuzzSelector memory selector) internal {
        _selectors.push(selector);
    }

    function targetSender(address sender) internal {
        _senders.push(sender);
    }

    function targetContracts() external view returns (address[] memory) {
        return _targets;
    }

    function targetSelectors() external view returns (FuzzSelector[] memory) {
        return _selectors;
    }

    function targetSenders() external view returns (address[] memory) {
        return _senders;
    }
}
