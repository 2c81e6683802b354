// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Split, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {Parts} from "./Parts.sol";

/// A till as Revenue deploys it.
interface ITill {
    error NotRevenue(address caller);

    function empty() external returns (uint256 amount);
    function revenue() external view returns (address);
}

contract RevenueTest is Parts {
    address private worker;
    address private client = address(0xC11E27);
    uint64 private deadline;

    function setUp() external {
        deployParts();
        populate(2, 0);
        worker = people[0].addr;
        fund(client, PURSE);
        deadline = uint64(vm.getBlockTimestamp() + 1_000);
    }

    function create() private returns (uint256) {
        vm.prank(client);
        return revenue.createJob("spec", 10 * MAG, deadline);
    }

    function take() private {
        vm.prank(worker);
        revenue.takeJob(1);
    }

    function submit() private {
        create();
        take();
        vm.prank(worker);
        revenue.submitResult(1, "result");
    }

    function contest() private {
        submit();
        vm.prank(client);
        revenue.contestResult(1, "reason");
    }

    function hold() private {
        contest();
        vm.prank(COURT);
        revenue.hold(1);
    }

    function wrongState(IRevenue.JobState state) private {
        vm.expectRevert(abi.encodeWithSelector(IRevenue.WrongState.selector, 1, state));
    }

    function paid(uint256 workerBefore, uint256 supply) private view {
        check(revenue.jobOf(1).state == IRevenue.JobState.Paid, "paid");
        eq(token.balanceOf(worker) - workerBefore, 8 * MAG, "worker");
        eq(token.balanceOf(OWNER), MAG, "treasury");
        eq(supply - token.totalSupply(), MAG, "burned");
        eq(token.balanceOf(address(revenue)), 0, "escrow");
    }

    function refunded() private view {
        check(revenue.jobOf(1).state == IRevenue.JobState.Refunded, "refunded");
        eq(token.balanceOf(client), PURSE, "all back");
        eq(token.balanceOf(address(revenue)), 0, "escrow");
    }

    function testCreates() external {
        vm.prank(client);
        expect(IRevenue.ZeroAmount.selector);
        revenue.createJob("spec", 0, deadline);
        uint64 now_ = uint64(vm.getBlockTimestamp());
        vm.prank(client);
        expect(IRevenue.DeadlinePassed.selector, now_);
        revenue.createJob("spec", 1, now_);
        vm.expectEmit(address(revenue));
        emit IRevenue.JobCreated(1, client, "spec", 10 * MAG, deadline);
        eq(create(), 1, "id");
        IRevenue.Job memory job = revenue.jobOf(1);
        check(job.state == IRevenue.JobState.Open, "open");
        eq(job.requester, client, "requester");
        eq(job.reward, 10 * MAG, "reward");
        eq(job.deadline, deadline, "deadline");
        eq(job.specHash, "spec", "spec");
        eq(token.balanceOf(address(revenue)), 10 * MAG, "escrow");
        eq(revenue.jobCount(), 1, "count");
        expect(IRevenue.UnknownJob.selector, 2);
        revenue.jobOf(2);
    }

    function testOneActiveWorkerTakesIt() external {
        create();
        expect(IRevenue.NotActive.selector, client);
        vm.prank(client);
        revenue.takeJob(1);
        vm.expectEmit(address(revenue));
        emit IRevenue.JobTaken(1, worker);
        take();
        wrongState(IRevenue.JobState.Taken);
        vm.prank(people[1].addr);
        revenue.takeJob(1);
        expect(IRevenue.NotWorker.selector, people[1].addr);
        vm.prank(people[1].addr);
        revenue.submitResult(1, "result");
    }

    function testNothingAfterTheDeadline() external {
        create();
        vm.warp(deadline);
        expect(IRevenue.DeadlinePassed.selector, deadline);
        take();
        vm.warp(deadline - 1);
        take();
        vm.warp(deadline);
        expect(IRevenue.DeadlinePassed.selector, deadline);
        vm.prank(worker);
        revenue.submitResult(1, "late");
    }

    function testRefundsWhatNobodyDid() external {
        create();
        vm.warp(deadline - 1);
        expect(IRevenue.DeadlineAhead.selector, deadline);
        revenue.settleJob(1);
        vm.warp(deadline);
        vm.expectEmit(address(revenue));
        emit IRevenue.JobRefunded(1, 10 * MAG);
        revenue.settleJob(1);
        refunded();
        wrongState(IRevenue.JobState.Refunded);
        revenue.settleJob(1);
    }

    function testRefundsWhatWasNotDelivered() external {
        create();
        take();
        vm.warp(deadline);
        revenue.settleJob(1);
        refunded();
    }

    function testAcceptingPaysAtOnce() external {
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        submit();
        expect(IRevenue.NotRequester.selector, worker);
        vm.prank(worker);
        revenue.acceptResult(1);
        vm.expectEmit(address(revenue));
        emit IRevenue.JobPaid(1, worker, 8 * MAG, MAG, MAG);
        vm.prank(client);
        revenue.acceptResult(1);
        paid(before, supply);
        wrongState(IRevenue.JobState.Paid);
        vm.prank(client);
        revenue.acceptResult(1);
    }

    function testSilencePays() external {
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        submit();
        uint256 end = vm.getBlockTimestamp() + 600;
        eq(revenue.jobOf(1).reviewEnd, end, "review");
        vm.warp(end - 1);
        expect(IRevenue.WindowOpen.selector, end);
        revenue.settleJob(1);
        vm.warp(end);
        expect(IRevenue.WindowOver.selector, end);
        vm.prank(client);
        revenue.contestResult(1, "late");
        revenue.settleJob(1);
        paid(before, supply);
    }

    function testContestingWithoutACasePays() external {
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        submit();
        // In the last second: bringing the case takes a window of its own.
        skip(599);
        expect(IRevenue.NotRequester.selector, worker);
        vm.prank(worker);
        revenue.contestResult(1, "reason");
        vm.expectEmit(address(revenue));
        emit IRevenue.JobContested(1, "reason");
        vm.prank(client);
        revenue.contestResult(1, "reason");
        uint256 end = vm.getBlockTimestamp() + 600;
        wrongState(IRevenue.JobState.Contested);
        vm.prank(client);
        revenue.contestResult(1, "again");
        vm.warp(end - 1);
        expect(IRevenue.WindowOpen.selector, end);
        revenue.settleJob(1);
        vm.warp(end);
        expect(IRevenue.WindowOver.selector, end);
        vm.prank(COURT);
        revenue.hold(1);
        revenue.settleJob(1);
        paid(before, supply);
    }

    function testARequesterThinksBetterOfIt() external {
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        contest();
        vm.prank(client);
        revenue.acceptResult(1);
        paid(before, supply);
    }

    function testThePanelHasTheLastWord() external {
        contest();
        vm.prank(COURT);
        (address accused, address accuser) = revenue.hold(1);
        eq(accused, worker, "accused");
        eq(accuser, client, "accuser");
        check(revenue.jobOf(1).held, "held");
        wrongState(IRevenue.JobState.Contested);
        vm.prank(COURT);
        revenue.hold(1);
        skip(600);
        wrongState(IRevenue.JobState.Contested);
        revenue.settleJob(1);
        wrongState(IRevenue.JobState.Contested);
        vm.prank(client);
        revenue.acceptResult(1);
        vm.prank(COURT);
        revenue.release(1, true);
        refunded();
    }

    function testThePanelPaysToo() external {
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        hold();
        vm.prank(COURT);
        revenue.release(1, false);
        paid(before, supply);
    }

    function testOnlyThePanelHoldsAndReleases() external {
        contest();
        expect(IRevenue.NotDisputes.selector, client);
        vm.prank(client);
        revenue.hold(1);
        expect(IRevenue.NotDisputes.selector, client);
        vm.prank(client);
        revenue.release(1, true);
        wrongState(IRevenue.JobState.Contested);
        vm.prank(COURT);
        revenue.release(1, true);
    }

    function testTheSplitIsTheOneOfItsDay() external {
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        submit();
        Values memory v = defaultValues();
        v.splits[1] = Split(2_500, 5_000, 2_500);
        govern(v);
        skip(EPOCH);
        revenue.settleJob(1);
        paid(before, supply);
    }

    function testATillIsKnownBeforeItExists() external {
        address till = revenue.tillOf(worker);
        eq(till.code.length, 0, "not there yet");
        check(till != revenue.tillOf(client), "each has its own");
        expect(IRevenue.NothingToSweep.selector, worker);
        revenue.sweep(worker);
        token.transfer(till, 100);
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        vm.expectEmit(address(revenue));
        emit IRevenue.IncomeSwept(worker, 80, 10, 10);
        eq(revenue.sweep(worker), 100, "swept");
        eq(token.balanceOf(worker) - before, 80, "server");
        eq(token.balanceOf(OWNER), 10, "treasury");
        eq(supply - token.totalSupply(), 10, "burned");
        check(till.code.length != 0, "now it is there");
        expect(IRevenue.NothingToSweep.selector, worker);
        revenue.sweep(worker);
        // What rounding leaves is burned.
        token.transfer(till, 19);
        vm.expectEmit(address(revenue));
        emit IRevenue.IncomeSwept(worker, 15, 1, 3);
        revenue.sweep(worker);
        token.transfer(till, 1);
        vm.expectEmit(address(revenue));
        emit IRevenue.IncomeSwept(worker, 0, 0, 1);
        revenue.sweep(worker);
    }

    function testOnlyRevenueEmptiesATill() external {
        address till = revenue.tillOf(worker);
        token.transfer(till, 100);
        revenue.sweep(worker);
        token.transfer(till, 100);
        expect(ITill.NotRevenue.selector, worker);
        vm.prank(worker);
        ITill(till).empty();
        eq(ITill(till).revenue(), address(revenue), "revenue");
    }

    function testFuzzSweepsToTheUnit(uint96 amount) external {
        amount = uint96(bound(amount, 1, 1_000 * MAG));
        token.transfer(revenue.tillOf(worker), amount);
        uint256 before = token.balanceOf(worker);
        uint256 supply = token.totalSupply();
        revenue.sweep(worker);
        uint256 got = token.balanceOf(worker) - before;
        eq(got, uint256(amount) * 8 / 10, "server");
        eq(got + token.balanceOf(OWNER) + supply - token.totalSupply(), amount, "all of it");
    }
}
