// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Vm} from "./Vm.sol";

/// The test base itself: a check that could not fail would make every other test worthless.
contract BaseTest is Base {
    function testChecksFail() external {
        vm.expectRevert(abi.encodeWithSelector(NotSo.selector, "a"));
        this.outside(0);
        vm.expectRevert(abi.encodeWithSelector(Different.selector, "b", 1, 2));
        this.outside(1);
        vm.expectRevert(abi.encodeWithSelector(TooLarge.selector, "c", 3, 2));
        this.outside(2);
    }

    function outside(uint256 which) external pure {
        if (which == 0) check(false, "a");
        else if (which == 1) eq(uint256(1), 2, "b");
        else le(3, 2, "c");
    }

    function testFuzzBoundStaysInside(uint256 x, uint256 lo, uint256 hi) external pure {
        vm.assume(lo <= hi);
        uint256 y = bound(x, lo, hi);
        check(y >= lo && y <= hi, "inside");
    }

    function testActorOwnsItsKey() external {
        Vm.Wallet memory someone = actor("someone");
        bytes32 hash = keccak256(abi.encode(someone.publicKeyX, someone.publicKeyY));
        eq(address(uint160(uint256(hash))), someone.addr, "address of the key");
    }
}
