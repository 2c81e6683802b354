// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Tier} from "../../src/interfaces/ILedgerTypes.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {Vm} from "../Vm.sol";
import {HostileToken} from "./HostileToken.sol";
import {Parts} from "./Parts.sol";

/// The contracts with a token that turns on them: no call back gets in while money moves, and a
/// transfer that did not happen counts for nothing.
contract HostileTest is Parts {
    HostileToken private hostile;
    Vm.Wallet private ann;

    function setUp() external {
        hostile = new HostileToken(SUPPLY);
        deployParts(address(hostile));
        ann = actor("ann");
        fund(ann.addr, PURSE);
    }

    /// The call back found the door shut, and the first call went through.
    function shut(string memory what) private view {
        check(hostile.tried(), string.concat(what, ": the plot was carried out"));
        check(!hostile.succeeded(), string.concat(what, ": and failed"));
        eq(
            bytes32(bytes4(hostile.answer())),
            bytes32(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector),
            what
        );
    }

    function testNobodyReentersTheNodes() external {
        bytes memory withdraw = abi.encodeCall(nodes.withdraw, ());
        hostile.plot(address(nodes), withdraw);
        join(ann, Tier.CpuOnly, 100 * MAG);
        shut("register");
        vm.startPrank(ann.addr);
        hostile.plot(address(nodes), withdraw);
        nodes.addBond(MAG);
        shut("addBond");
        hostile.plot(address(nodes), abi.encodeCall(nodes.takeSeat, (MAG)));
        nodes.takeSeat(100 * MAG);
        shut("takeSeat");
        nodes.unbond(MAG);
        skip(3_600);
        hostile.plot(address(nodes), withdraw);
        nodes.withdraw();
        shut("withdraw");
        vm.stopPrank();
        hostile.plot(address(nodes), withdraw);
        vm.prank(COURT);
        nodes.slash(ann.addr, 1_000, address(this));
        shut("slash");
    }

    function testNobodyReentersTheRegistry() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        hostile.plot(address(registry), abi.encodeCall(registry.confirm, (1)));
        vm.prank(ann.addr);
        registry.registerData("a", 1, "");
        shut("registerData");
        skip(600);
        hostile.plot(address(registry), abi.encodeCall(registry.confirm, (1)));
        registry.confirm(1);
        shut("confirm");
    }

    function testNobodyReentersRevenue() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        fund(address(this), 1);
        hostile.plot(address(revenue), abi.encodeCall(revenue.settleJob, (1)));
        uint256 id = revenue.createJob("spec", 10 * MAG, uint64(vm.getBlockTimestamp() + 60));
        shut("createJob");
        vm.startPrank(ann.addr);
        revenue.takeJob(id);
        revenue.submitResult(id, "result");
        vm.stopPrank();
        hostile.plot(address(revenue), abi.encodeCall(revenue.settleJob, (1)));
        revenue.acceptResult(id);
        shut("acceptResult");
        token.transfer(revenue.tillOf(ann.addr), 10 * MAG);
        hostile.plot(address(revenue), abi.encodeCall(revenue.sweep, (ann.addr)));
        revenue.sweep(ann.addr);
        shut("sweep");
    }

    function testATransferThatSaysNoCountsForNothing() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.prank(ann.addr);
        nodes.unbond(MAG);
        skip(3_600);
        token.transfer(revenue.tillOf(ann.addr), MAG);
        hostile.sayNo();
        bytes memory failed =
            abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token));
        vm.startPrank(ann.addr);
        vm.expectRevert(failed);
        nodes.withdraw();
        vm.expectRevert(failed);
        nodes.addBond(MAG);
        vm.expectRevert(failed);
        registry.registerData("a", 1, "");
        vm.expectRevert(failed);
        revenue.createJob("spec", 1, uint64(vm.getBlockTimestamp() + 1));
        vm.expectRevert(failed);
        revenue.sweep(ann.addr);
        vm.stopPrank();
        eq(nodes.nodeOf(ann.addr).unbonding, MAG, "still owed");
        eq(registry.recordCount(), 0, "no record");
        eq(revenue.jobCount(), 0, "no job");
    }
}
