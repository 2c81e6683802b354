// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";

/// Odd amounts: whatever is split or slashed is split or slashed to the unit, and no dust stays behind.
contract SplitAttacks is Ledger {
    function setUp() external {
        deployLedger(defaultValues());
        populate(7, 6);
    }

    /// A job's escrow, any reward: worker, treasury and flames get all of it between them.
    function testAttackFuzzDustOfJobs(uint256 reward) external {
        reward = bound(reward, 1, 1_000 * MAG);
        uint256 supply = token.totalSupply();
        vm.prank(people[0].addr);
        uint256 id = revenue.createJob("spec", reward, uint64(vm.getBlockTimestamp() + 100));
        vm.startPrank(people[1].addr);
        revenue.takeJob(id);
        revenue.submitResult(id, "result");
        vm.stopPrank();
        vm.prank(people[0].addr);
        revenue.acceptResult(id);
        eq(token.balanceOf(address(revenue)), 0, "no dust in escrow");
        uint256 paid = token.balanceOf(people[1].addr) - (PURSE - 130 * MAG);
        eq(paid, reward * 8_000 / 10_000, "the worker's part");
        eq(token.balanceOf(timelock), reward / 10, "the treasury's");
        eq(supply - token.totalSupply(), reward - paid - reward / 10, "the rest is burned");
    }

    /// Income in a till, any amount and many times.
    function testAttackFuzzDustOfTills(uint256 first, uint256 second) external {
        address server = people[6].addr;
        uint256 supply = token.totalSupply();
        uint256 before = token.balanceOf(server);
        address till = revenue.tillOf(server);
        (first, second) = (bound(first, 1, 100 * MAG), bound(second, 1, 100 * MAG));
        token.transfer(till, first);
        revenue.sweep(server);
        token.transfer(till, second);
        revenue.sweep(server);
        uint256 earned = token.balanceOf(server) - before;
        eq(token.balanceOf(till) + token.balanceOf(address(revenue)), 0, "no dust");
        uint256 burned = supply - token.totalSupply();
        eq(earned + token.balanceOf(timelock) + burned, first + second, "all of it");
        check(burned * 10 >= first + second, "at least a tenth is burned");
    }

    /// A slashed bond of any size: half to the challenger, the other half, and the odd unit, burned.
    function testAttackFuzzDustOfSlashes(uint256 extra) external {
        address accused = people[6].addr;
        extra = bound(extra, 0, 1_000 * MAG);
        if (extra > 0) {
            vm.prank(accused);
            nodes.addBond(extra);
        }
        uint256 supply = token.totalSupply();
        uint256 before = token.balanceOf(people[0].addr);
        uint256 held = token.balanceOf(address(nodes));
        judge(challengeAs(people[0].addr, Offence.FalseTier, accused, bytes32(0)), true);
        uint256 slashed = (30 * MAG + extra) * 3_000 / 10_000;
        eq(held - token.balanceOf(address(nodes)), slashed, "slashed");
        eq(token.balanceOf(people[0].addr) - before, slashed / 2, "half to the challenger");
        eq(supply - token.totalSupply(), slashed - slashed / 2, "the rest burned");
    }
}
