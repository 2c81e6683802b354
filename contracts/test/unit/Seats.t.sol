// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tier, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {Vm} from "../Vm.sol";
import {Parts} from "./Parts.sol";

abstract contract Seated is Parts {
    function sit(uint256 who, uint256 bond) internal {
        vm.prank(people[who].addr);
        nodes.takeSeat(bond);
    }

    function stand(uint256 who) internal {
        vm.prank(people[who].addr);
        nodes.leaveSeat();
    }

    /// The seats, the nodes' own words and the money must tell the same story.
    function consistent() internal view {
        (address[] memory seats, uint256[] memory bonds) = nodes.notaries();
        eq(seats.length, nodes.notaryCount(), "count");
        for (uint256 i = 0; i < seats.length; ++i) {
            check(nodes.isNotary(seats[i]), "who sits is a notary");
            eq(bonds[i], nodes.nodeOf(seats[i]).notaryBond, "bond");
        }
        uint256 owed = 0;
        uint256 seated_ = 0;
        for (uint256 i = 0; i < people.length; ++i) {
            INodes.Node memory node = nodes.nodeOf(people[i].addr);
            owed += node.bond + node.unbonding + node.notaryBond;
            if (node.notaryBond != 0) ++seated_;
        }
        // A node that sat twice would make more seats than notaries.
        eq(seated_, seats.length, "a bond means a seat");
        eq(token.balanceOf(address(nodes)), owed, "money");
        eq(nodes.drawNotary(0) == address(0) ? 0 : 1, seats.length == 0 ? 0 : 1, "a draw");
    }

}

contract SeatsTest is Seated {
    function setUp() external {
        deployParts();
    }

    function testTakesAndLeavesASeat() external {
        populate(2, 0);
        eq(nodes.drawNotary("any"), address(0), "nobody");
        expect(INodes.NotNotary.selector, people[0].addr);
        stand(0);
        expect(INodes.ZeroAmount.selector);
        sit(0, 0);
        expect(INodes.BondTooSmall.selector, 100 * MAG - 1, 100 * MAG);
        sit(0, 100 * MAG - 1);
        expect(INodes.NotRegistered.selector, address(this));
        nodes.takeSeat(100 * MAG);
        vm.expectEmit(address(nodes));
        emit INodes.NotarySeated(people[0].addr, 100 * MAG);
        sit(0, 100 * MAG);
        eq(nodes.drawNotary("any"), people[0].addr, "the only one");
        // More to the same seat.
        sit(0, 1);
        eq(nodes.nodeOf(people[0].addr).notaryBond, 100 * MAG + 1, "more");
        eq(nodes.notaryCount(), 1, "one seat");
        uint64 release = uint64(vm.getBlockTimestamp()) + 3_600;
        vm.expectEmit(address(nodes));
        emit INodes.NotaryLeft(people[0].addr);
        vm.expectEmit(address(nodes));
        emit INodes.Unbonding(people[0].addr, 100 * MAG + 1, 30 * MAG, release);
        stand(0);
        eq(nodes.notaryCount(), 0, "none");
        consistent();
    }

    function testARaisedLeastHoldsForMoreOfASeat() external {
        populate(1, 1);
        Values memory v = defaultValues();
        v.notaryBond = uint96(200 * MAG);
        govern(v);
        toEpoch(1);
        check(nodes.isNotary(people[0].addr), "keeps its seat");
        expect(INodes.BondTooSmall.selector, 150 * MAG, 200 * MAG);
        sit(0, 50 * MAG);
        sit(0, 100 * MAG);
        consistent();
    }

    function testOnlyAnActiveNodeSits() external {
        populate(2, 1);
        vm.prank(people[1].addr);
        nodes.unbond(30 * MAG);
        expect(INodes.BondTooSmall.selector, 0, 30 * MAG);
        sit(1, 100 * MAG);
        // Who unbonds all leaves the seat with it.
        vm.prank(people[0].addr);
        nodes.unbond(30 * MAG);
        check(!nodes.isNotary(people[0].addr), "left");
        eq(nodes.nodeOf(people[0].addr).unbonding, 130 * MAG, "all on its way");
        consistent();
    }

    function testTheLeastBondedGivesWay() external {
        populate(33, 0);
        for (uint256 i = 0; i < 31; ++i) sit(i, 200 * MAG + ((i * 7 + 10) % 31) * MAG);
        eq(nodes.notaryCount(), 31, "full");
        consistent();
        // Person 3 has the least: 200.
        expect(INodes.NoSeat.selector, 200 * MAG);
        sit(31, 200 * MAG);
        vm.expectEmit(address(nodes));
        emit INodes.NotaryLeft(people[3].addr);
        sit(31, 200 * MAG + 1);
        eq(nodes.notaryCount(), 31, "still full");
        check(!nodes.isNotary(people[3].addr), "gave way");
        eq(nodes.nodeOf(people[3].addr).unbonding, 200 * MAG, "not lost");
        // The newcomer is the least now.
        sit(32, 201 * MAG);
        check(!nodes.isNotary(people[31].addr), "gave way in turn");
        consistent();
    }

    function testTheDisplacedStaySlashable() external {
        populate(32, 31);
        address gone = people[0].addr;
        sit(31, 101 * MAG);
        check(!nodes.isNotary(gone), "displaced");
        vm.prank(COURT);
        eq(nodes.slash(gone, 10_000, address(0)), 130 * MAG, "slashed");
        consistent();
    }

    /// Every seat is drawn as often as its bond says: checked at both edges of every seat.
    function testDrawsByBond() external {
        populate(20, 0);
        uint256 total = 0;
        for (uint256 i = 0; i < 20; ++i) {
            sit(i, (100 + i * i) * MAG);
            total += (100 + i * i) * 1e6;
        }
        edges(total);
        // Holes are filled by the last seat, and the weights follow.
        stand(3);
        stand(19);
        stand(0);
        total -= (100 + 9 + 100 + 361 + 100) * 1e6;
        edges(total);
        vm.prank(COURT);
        nodes.slash(people[10].addr, 1_000, address(0));
        total -= 20 * 1e6;
        edges(total);
        consistent();
    }

    function edges(uint256 total) private view {
        (address[] memory seats, uint256[] memory bonds) = nodes.notaries();
        uint256 edge = 0;
        for (uint256 i = 0; i < seats.length; ++i) {
            eq(nodes.drawNotary(pointingAt(edge, total)), seats[i], "first");
            edge += bonds[i] / 1e12;
            eq(nodes.drawNotary(pointingAt(edge - 1, total)), seats[i], "last");
        }
        eq(edge, total, "total");
        eq(nodes.drawNotary(bytes32(type(uint256).max)), seats[seats.length - 1], "greatest seed");
    }

    /// The least seed whose share of `total` is `target`.
    function pointingAt(uint256 target, uint256 total) private pure returns (bytes32) {
        return bytes32((((target << 192) + total - 1) / total) << 64);
    }

    function testTheRichestNotaryFitsTheTable() external {
        address bank = create("MagToken", abi.encode(address(this), address(this), type(uint256).max));
        deployParts(bank);
        uint256 most = (1 << 96) - 1;
        for (uint256 i = 0; i < 9; ++i) {
            Vm.Wallet memory who = actor(string.concat("rich ", vm.toString(i)));
            people.push(who);
            fund(who.addr, most + 30 * MAG);
            join(who, Tier.CpuOnly, 30 * MAG);
            sit(i, most);
        }
        edges((most / 1e12) * 9);
        stand(0);
        edges((most / 1e12) * 8);
        consistent();
    }
}

contract SeatsFuzzTest is Seated {
    function setUp() external {
        deployParts();
        populate(36, 0);
    }

    /// Any order of coming, growing, leaving and slashing.
    function testFuzzSeatsStayConsistent(uint256 seed) external {
        for (uint256 i = 0; i < 40; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint256 who = (dice >> 16) % 36;
            if (nodes.nodeOf(people[who].addr).banned) continue;
            uint256 what = dice % 10;
            if (what == 0 && nodes.isNotary(people[who].addr)) {
                stand(who);
            } else if (what == 1) {
                vm.prank(COURT);
                nodes.slash(people[who].addr, uint16(1 + (dice >> 32) % 10_000), address(0));
            } else if (nodes.isActive(people[who].addr)) {
                uint256 amount = 100 * MAG + (dice >> 64) % (100 * MAG);
                vm.prank(people[who].addr);
                try nodes.takeSeat(amount) {}
                catch (bytes memory why) {
                    eq(bytes32(bytes4(why)), bytes32(INodes.NoSeat.selector), "refused");
                }
            }
        }
        consistent();
    }
}
