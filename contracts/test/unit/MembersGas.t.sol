// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tier, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Vm} from "../Vm.sol";
import {Parts} from "./Parts.sol";

/// What the calls of members, sellers and contributors cost as whole transactions, against a budget
/// each.
/// forge-config: default.isolate = true
contract MembersGasTest is Parts {
    Vm.Wallet private ann;

    function setUp() external {
        deployParts();
        // Treasury and Nodes hold something already: the first payment ever is nobody's everyday.
        token.transfer(OWNER, 1);
        populate(32, 0);
        ann = actor("ann");
        fund(ann.addr, PURSE);
    }

    function within(string memory name, uint256 budget) private {
        le(vm.snapshotGasLastCall("members", name), budget, name);
    }

    function testMembership() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        within("register", 200_000);
        vm.startPrank(ann.addr);
        nodes.addBond(100 * MAG);
        within("addBond", 75_000);
        nodes.changeTier(Tier.GpuCompute);
        within("changeTier", 50_000);
        skip(EPOCH);
        nodes.unbond(10 * MAG);
        within("unbond", 85_000);
        skip(3_600);
        nodes.withdraw();
        within("withdraw", 60_000);
        nodes.takeSeat(100 * MAG);
        within("takeSeat", 200_000);
        nodes.leaveSeat();
        within("leaveSeat", 90_000);
        vm.stopPrank();
    }

    function testAFullTableOfSeats() external {
        for (uint256 i = 0; i < 31; ++i) {
            vm.prank(people[i].addr);
            nodes.takeSeat((200 - i) * MAG);
        }
        vm.prank(people[31].addr);
        nodes.takeSeat(171 * MAG);
        within("takeSeat, displacing", 250_000);
        nodes.drawNotary(keccak256("seed"));
        within("drawNotary", 30_000);
        vm.prank(COURT);
        nodes.slash(people[5].addr, 1_000, people[6].addr);
        within("slash", 120_000);
    }

    function testPayments() external {
        bytes32 digest = paymentDigest();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(ann.privateKey, digest);
        token.transferWithAuthorization(
            ann.addr, people[0].addr, MAG, 0, type(uint256).max, "nonce", v, r, s
        );
        within("transferWithAuthorization", 90_000);
        address server = people[1].addr;
        token.transfer(revenue.tillOf(server), MAG);
        revenue.sweep(server);
        within("sweep, first", 150_000);
        token.transfer(revenue.tillOf(server), MAG);
        revenue.sweep(server);
        within("sweep", 110_000);
    }

    function paymentDigest() private view returns (bytes32) {
        bytes32 inner = keccak256(
            abi.encode(
                keccak256(
                    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                ann.addr,
                people[0].addr,
                MAG,
                0,
                type(uint256).max,
                bytes32("nonce")
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), inner));
    }

    function testDataAndJobs() external {
        join(ann, Tier.CpuOnly, 100 * MAG);
        vm.prank(ann.addr);
        registry.registerData("hash", 1, "magnet://a-name-of-ordinary-length-for-a-data-set");
        within("registerData", 330_000);
        skip(600);
        registry.confirm(1);
        within("confirm", 130_000);
        vm.prank(people[0].addr);
        uint64 deadline = uint64(vm.getBlockTimestamp() + 60);
        revenue.createJob("spec", MAG, deadline);
        within("createJob", 220_000);
    }

    function testGovernedValues() external {
        Values memory next = defaultValues();
        vm.prank(OWNER);
        params.schedule(next);
        within("schedule", 500_000);
    }
}
