// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDataRegistry} from "../../src/interfaces/IDataRegistry.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {Values} from "../../src/interfaces/ILedgerTypes.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {IMag, Ledger} from "../Ledger.sol";

/// Token, Params, Nodes, DataRegistry and Revenue alone. This test is the minter and holds the supply;
/// `COURT` stands where Disputes stands, `OWNER` where the timelock does.
abstract contract Parts is Ledger {
    address internal constant COURT = address(0xC0947);
    address internal constant OWNER = address(0x0114E2);

    function deployParts() internal {
        deployParts(create("MagToken", abi.encode(address(this), address(this), SUPPLY)));
    }

    function deployParts(address mag) internal {
        genesis = uint64(vm.getBlockTimestamp());
        timelock = OWNER;
        disputes = IDisputes(COURT);
        token = IMag(mag);
        params = IParams(newParams(defaultValues()));
        nodes = INodes(create("Nodes", abi.encode(token, params, COURT)));
        registry = IDataRegistry(create("DataRegistry", abi.encode(token, params, nodes, COURT)));
        revenue = IRevenue(create("Revenue", abi.encode(token, params, nodes, COURT)));
    }

    function newParams(Values memory values) internal returns (address) {
        return create("Params", abi.encode(OWNER, genesis, EPOCH, true, values));
    }

    /// From the next epoch on.
    function govern(Values memory values) internal {
        vm.prank(OWNER);
        params.schedule(values);
    }

    /// To the first second of an epoch.
    function toEpoch(uint64 epoch) internal {
        vm.warp(uint256(genesis) + uint256(epoch) * EPOCH);
    }

    function skip(uint256 duration) internal {
        vm.warp(vm.getBlockTimestamp() + duration);
    }

    function expect(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }

    function expect(bytes4 selector, address a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function expect(bytes4 selector, uint256 a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function expect(bytes4 selector, uint256 a, uint256 b) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a, b));
    }
}
