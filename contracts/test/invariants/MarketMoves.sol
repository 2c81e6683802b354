// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDataRegistry} from "../../src/interfaces/IDataRegistry.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {World} from "./World.sol";

/// Data sets, research jobs, tills, and money that nobody asked for.
abstract contract MarketMoves is World {
    /// Sent to the ledger's contracts by mistake; nobody's, and nobody may come to it.
    mapping(address account => uint256 amount) public strayed;

    function registerData(uint256 who, uint256 content) external move("registerData") {
        vm.prank(person(who));
        registry.registerData(bytes32(1 + content % 1_000), 1 + content % 1e12, "ipfs://set");
    }

    function confirmData(uint256 which, uint256 wait) external move("confirmData") {
        uint256 id = 1 + which % registry.recordCount();
        IDataRegistry.Record memory record = registry.recordOf(id);
        if (wait % 2 == 0) forward(record.challengeEnd);
        registry.confirm(id);
    }

    function createJob(uint256 who, uint256 reward, uint256 time) external move("createJob") {
        vm.prank(person(who));
        revenue.createJob("spec", 1 + reward % (30 * MAG), uint64(vm.getBlockTimestamp() + 1 + time % 100_000));
    }

    function workOnJob(uint256 who, uint256 which) external move("workOnJob") {
        uint256 id = jobIn(which, which % 2 == 0 ? IRevenue.JobState.Open : IRevenue.JobState.Taken);
        if (revenue.jobOf(id).state == IRevenue.JobState.Open) {
            vm.prank(person(who));
            revenue.takeJob(id);
        }
        if (which % 4 == 0) return;
        address worker = revenue.jobOf(id).worker;
        vm.prank(worker);
        revenue.submitResult(id, "result");
    }

    /// The first job from a random one on that is in this state.
    function jobIn(uint256 which, IRevenue.JobState state) internal view returns (uint256 id) {
        uint256 count = revenue.jobCount();
        id = 1 + which % count;
        for (uint256 i; i < count && revenue.jobOf(id).state != state; ++i) id = 1 + id % count;
    }

    /// A result that waits for its review, handed in now where none does.
    function resultOf(uint256 which) internal returns (uint256 id) {
        id = jobIn(which, IRevenue.JobState.Submitted);
        IRevenue.Job memory job = revenue.jobOf(id);
        if (job.state == IRevenue.JobState.Submitted && vm.getBlockTimestamp() < job.reviewEnd) return id;
        id = jobIn(which, IRevenue.JobState.Taken);
        if (revenue.jobOf(id).state != IRevenue.JobState.Taken) {
            id = jobIn(which, IRevenue.JobState.Open);
            vm.prank(person(which >> 8));
            revenue.takeJob(id);
        }
        address worker = revenue.jobOf(id).worker;
        vm.prank(worker);
        revenue.submitResult(id, "result");
    }

    function judgeJob(uint256 which, uint256 happy) external move("judgeJob") {
        uint256 id = resultOf(which);
        address requester = revenue.jobOf(id).requester;
        vm.prank(requester);
        if (happy % 2 == 0) revenue.acceptResult(id);
        else revenue.contestResult(id, "reason");
    }

    function settleJob(uint256 which, uint256 wait) external move("settleJob") {
        uint256 id = 1 + which % revenue.jobCount();
        IRevenue.Job memory job = revenue.jobOf(id);
        if (wait % 2 == 0) forward(job.deadline > job.reviewEnd ? job.deadline : job.reviewEnd);
        revenue.settleJob(id);
    }

    function payTill(uint256 who, uint256 server, uint256 amount) external move("payTill") {
        address till = revenue.tillOf(person(server));
        vm.prank(person(who));
        token.transfer(till, 1 + amount % (5 * MAG));
    }

    function sweep(uint256 server) external move("sweep") {
        revenue.sweep(person(server));
    }

    function stray(uint256 who, uint256 whither, uint256 amount) external move("stray") {
        address[5] memory places =
            [address(nodes), address(epochs), address(disputes), address(registry), address(revenue)];
        address place = places[whither % 5];
        amount = 1 + amount % MAG;
        vm.prank(person(who));
        token.transfer(place, amount);
        strayed[place] += amount;
    }
}
