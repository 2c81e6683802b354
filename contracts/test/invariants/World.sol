// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {Tier, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";

/// The world in which the invariants' fuzzer moves: a ledger with small caps, two dozen people of whom
/// half have joined, and what an outsider writes down beside the contracts to hold them to it.
abstract contract World is Ledger {
    uint256 internal constant CROWD = 24;
    uint256 internal constant POOL = 1_000 * MAG;
    uint256 internal constant DAY_CAP = 3_500 * MAG;
    uint256 internal constant YEAR_CAP = 12_300 * MAG;
    /// Marks a move that succeeded, so that a test can see that each of them can.
    mapping(bytes32 move => uint256 count) public done;

    // What was minted, when, for which epoch; rejected settlements leave the list.
    struct Minted {
        uint64 epoch;
        uint256 time;
        uint256 amount;
    }

    Minted[] public minted;
    /// Sums under the newest final root, and under the settlement that waits.
    mapping(address account => uint256 sum) public finalSum;
    mapping(address account => uint256 sum) internal waitingSum;
    bytes32 internal waitingRoot;
    uint64 internal waitingEpoch;
    bool internal waiting;
    /// Roots that were final once.
    bytes32[] public finalRoots;
    uint64[] public finalEpochs;
    uint256 public claimedSum;
    /// Highest phase seen of a dispute that is over.
    mapping(uint256 id => IDisputes.Phase phase) public verdict;
    /// What was in force when an epoch was first seen running.
    mapping(uint64 epoch => bytes32 hash) public valuesSeen;
    uint64[] public epochsSeen;

    function found() internal {
        Values memory v = defaultValues();
        v.dailyCap = uint96(DAY_CAP);
        v.annualCap = uint96(YEAR_CAP);
        deployLedger(v);
        gather(CROWD);
        for (uint256 i; i < 12; ++i) {
            join(people[i], Tier.CpuOnly, 30 * MAG);
            if (i >= 10) continue;
            vm.prank(people[i].addr);
            nodes.takeSeat((100 + i) * MAG);
        }
    }

    modifier move(bytes32 name) {
        look();
        _;
        ++done[name];
        look();
    }

    function person(uint256 seed) internal view returns (address) {
        return people[seed % CROWD].addr;
    }

    function crowd() external view returns (address[] memory list) {
        list = new address[](CROWD);
        for (uint256 i; i < CROWD; ++i) list[i] = people[i].addr;
    }

    function forward(uint256 time) internal {
        if (time > vm.getBlockTimestamp()) vm.warp(time);
        vm.roll(vm.getBlockNumber() + 1);
    }

    /// Notes what everybody can see: values in force, settlements that became final, verdicts.
    function look() internal {
        uint64 epoch = params.currentEpoch();
        if (valuesSeen[epoch] == 0) {
            valuesSeen[epoch] = keccak256(abi.encode(params.current()));
            epochsSeen.push(epoch);
        }
        (bytes32 root, uint64 rootEpoch) = epochs.finalRoot();
        if (waiting && rootEpoch == waitingEpoch && root == waitingRoot) {
            waiting = false;
            for (uint256 i; i < CROWD; ++i) finalSum[people[i].addr] = waitingSum[people[i].addr];
            finalRoots.push(root);
            finalEpochs.push(rootEpoch);
        } else if (waiting && epochs.settlementOf(waitingEpoch).rejected) {
            waiting = false;
            minted.pop();
        }
        uint256 count = disputes.disputeCount();
        for (uint256 id = 0; id <= count; ++id) {
            IDisputes.Phase phase = disputes.disputeOf(id).phase;
            if (phase >= IDisputes.Phase.Guilty && verdict[id] == IDisputes.Phase.None) verdict[id] = phase;
        }
    }

    // A day passes seldom, an instant often: windows are minutes.
    function pass(uint256 seconds_) external move("pass") {
        uint256 kind = seconds_ % 8;
        uint256 most = kind == 0 ? 1 days : kind < 4 ? 900 : 60;
        forward(vm.getBlockTimestamp() + 1 + (seconds_ / 8) % most);
    }
}
