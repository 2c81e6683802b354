// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tier, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {World} from "./World.sol";

/// What nodes do with their bonds, and governance with its values.
abstract contract NodeMoves is World {
    function register(uint256 who, uint256 tier, uint256 extra) external move("register") {
        Tier chosen = Tier(tier % 5);
        uint256 bond = params.tierBond(chosen) + extra % (50 * MAG);
        join(people[who % CROWD], chosen, bond);
    }

    function changeTier(uint256 who, uint256 tier) external move("changeTier") {
        vm.prank(person(who));
        nodes.changeTier(Tier(tier % 5));
    }

    function addBond(uint256 who, uint256 amount) external move("addBond") {
        vm.prank(person(who));
        nodes.addBond(1 + amount % (400 * MAG));
    }

    function unbond(uint256 who, uint256 amount) external move("unbond") {
        address node = person(who);
        uint256 bond = nodes.nodeOf(node).bond;
        // Half of the tries take everything.
        if (amount % 2 == 1) amount = bond;
        vm.prank(node);
        nodes.unbond(amount % (bond + 1));
    }

    function withdraw(uint256 who) external move("withdraw") {
        vm.prank(person(who));
        nodes.withdraw();
    }

    function takeSeat(uint256 who, uint256 amount) external move("takeSeat") {
        uint256 bond = params.notaryBond() + amount % (50 * MAG);
        vm.prank(person(who));
        nodes.takeSeat(bond);
    }

    function leaveSeat(uint256 who) external move("leaveSeat") {
        // Panels need people: seats are not left empty.
        if (nodes.notaryCount() < 8) return;
        vm.prank(person(who));
        nodes.leaveSeat();
    }

    function govern(uint256 seed) external move("govern") {
        Values memory v = defaultValues();
        v.dailyCap = uint96(DAY_CAP);
        v.annualCap = uint96(YEAR_CAP);
        v.epochPool = uint96(POOL / 2 + seed % POOL);
        v.commitSeconds = uint32(60 + seed % 60);
        v.revealSeconds = uint32(60 + (seed >> 8) % 60);
        v.challengeSeconds = uint32(90 + (seed >> 16) % 60);
        v.notaryBond = uint96((90 + (seed >> 24) % 20) * MAG);
        v.tierBonds[3] = uint96((20 + (seed >> 32) % 20) * MAG);
        v.slashBps[0] = uint16(1_000 + (seed >> 40) % 1_000);
        v.dataFee = uint96((seed >> 48) % (9 * MAG));
        vm.prank(timelock);
        params.schedule(v);
    }
}
