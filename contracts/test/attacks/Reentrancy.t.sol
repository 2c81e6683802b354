// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {Ledger} from "../Ledger.sol";
import {Tree} from "../Tree.sol";
import {HostileToken, Thief} from "./Hostile.sol";

/// The ledger over a token that calls back: what is paid must be written down before it is paid.
contract ReentrancyAttacks is Ledger {
    Thief internal thief;

    function setUp() external {
        deployLedger(defaultValues());
        populate(5, 5);
        thief = new Thief();
    }

    function createToken(address) internal override returns (address) {
        return address(new HostileToken(address(this), SUPPLY));
    }

    function testAttackReentrantClaim() external {
        address[] memory accounts = new address[](2);
        uint256[] memory sums = new uint256[](2);
        (accounts[0], accounts[1]) = (address(thief), address(0xb0b));
        (sums[0], sums[1]) = (300 * MAG, 700 * MAG);
        bytes32[] memory tree = settleFor(0, accounts, sums);
        bytes32[] memory path = Tree.proof(tree, Tree.leafOf(address(thief), 300 * MAG));
        thief.aim(address(epochs), abi.encodeCall(IEpochs.claim, (address(thief), 300 * MAG, path)));
        epochs.claim(address(thief), 300 * MAG, path);
        check(thief.entries() > 0, "was called back");
        eq(thief.successes(), 0, "no second payment");
        eq(token.balanceOf(address(thief)), 300 * MAG, "paid once");
    }

    /// A job's worker that settles it again from within its payment.
    function testAttackReentrantJob() external {
        address requester = people[0].addr;
        address worker = people[1].addr;
        vm.startPrank(requester);
        uint256 id = revenue.createJob("spec", 100 * MAG, uint64(vm.getBlockTimestamp() + 1_000));
        revenue.createJob("another", 900 * MAG, uint64(vm.getBlockTimestamp() + 1_000));
        vm.stopPrank();
        vm.startPrank(worker);
        revenue.takeJob(id);
        revenue.submitResult(id, "result");
        vm.stopPrank();
        uint256 before = token.balanceOf(worker);
        vm.etch(worker, address(thief).code);
        vm.prank(address(this));
        Thief(worker).aim(address(revenue), abi.encodeCall(IRevenue.settleJob, (id)));
        vm.warp(revenue.jobOf(id).reviewEnd);
        revenue.settleJob(id);
        check(Thief(worker).entries() > 0, "was called back");
        eq(Thief(worker).successes(), 0, "no second payment");
        eq(token.balanceOf(worker) - before, 80 * MAG, "paid once");
        eq(token.balanceOf(address(revenue)), 900 * MAG, "the other job's escrow is whole");
    }

    /// A bond that is withdrawn again from within its withdrawal.
    function testAttackReentrantWithdrawal() external {
        address node = people[0].addr;
        vm.startPrank(node);
        nodes.leaveSeat();
        nodes.unbond(30 * MAG);
        vm.stopPrank();
        vm.warp(nodes.nodeOf(node).releaseTime);
        uint256 held = token.balanceOf(address(nodes));
        vm.etch(node, address(thief).code);
        Thief(node).aim(address(nodes), abi.encodeCall(INodes.withdraw, ()));
        Thief(node).run(address(nodes), abi.encodeCall(INodes.withdraw, ()));
        check(Thief(node).entries() > 0, "was called back");
        eq(Thief(node).successes(), 0, "no second withdrawal");
        eq(held - token.balanceOf(address(nodes)), 130 * MAG, "its own bond, once");
    }
}
