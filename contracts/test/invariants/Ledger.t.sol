// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDataRegistry} from "../../src/interfaces/IDataRegistry.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {INodes} from "../../src/interfaces/INodes.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {Base} from "../Base.sol";
import {IMag} from "../Ledger.sol";
import {Handler} from "./Handler.sol";

/// What holds after every move of anybody, in any order.
contract LedgerInvariants is Base {
    Handler internal world;
    IMag internal token;
    IParams internal params;
    INodes internal nodes;
    IEpochs internal epochs;
    IDisputes internal disputes;
    IDataRegistry internal registry;
    IRevenue internal revenue;
    address internal timelock;
    address[] internal crowd;

    function setUp() external {
        world = new Handler();
        address[8] memory list = world.ledger();
        token = IMag(list[0]);
        params = IParams(list[1]);
        nodes = INodes(list[2]);
        epochs = IEpochs(list[3]);
        disputes = IDisputes(list[4]);
        registry = IDataRegistry(list[5]);
        revenue = IRevenue(list[6]);
        timelock = list[7];
        crowd = world.crowd();
        targetContract(address(world));
    }

    // Money.

    /// Supply = genesis + minted - burned: nothing but settlements mints.
    function invariantSupplyIsMintedLessBurned() external view {
        le(token.totalSupply(), world.supply() + epochs.cumulativeTotal(), "supply");
    }

    /// Every unit lies with somebody known: no path loses or doubles money.
    function invariantSupplyLiesWithKnownHolders() external view {
        uint256 sum = token.balanceOf(address(world)) + token.balanceOf(timelock);
        sum += token.balanceOf(address(nodes)) + token.balanceOf(address(epochs));
        sum += token.balanceOf(address(disputes)) + token.balanceOf(address(registry));
        sum += token.balanceOf(address(revenue)) + token.balanceOf(address(0xbad));
        for (uint256 i; i < crowd.length; ++i) {
            sum += token.balanceOf(crowd[i]) + token.balanceOf(revenue.tillOf(crowd[i]));
        }
        eq(sum, token.totalSupply(), "sum of balances");
    }

    /// What was minted and not claimed is there, to the unit.
    function invariantEpochsHoldsWhatIsUnclaimed() external view {
        uint256 owed = epochs.cumulativeTotal() - world.claimedSum();
        eq(token.balanceOf(address(epochs)), owed + world.strayed(address(epochs)), "unclaimed");
    }

    function invariantClaimsNeverExceedTotals() external view {
        uint256 sum;
        for (uint256 i; i < crowd.length; ++i) sum += epochs.claimed(crowd[i]);
        eq(sum, world.claimedSum(), "sum of claims");
        le(sum, epochs.cumulativeTotal(), "claims");
    }

    function invariantNobodyClaimsAboveTheFinalRoot() external view {
        for (uint256 i; i < crowd.length; ++i) {
            le(epochs.claimed(crowd[i]), world.finalSum(crowd[i]), "claimed");
        }
        eq(epochs.claimed(address(0xbad)), 0, "the thief");
    }

    function invariantCumulativeTotalIsTheSumOfSettlements() external view {
        uint256 sum;
        for (uint256 i; i < world.mintedCount(); ++i) {
            (,, uint256 amount) = world.minted(i);
            sum += amount;
        }
        eq(epochs.cumulativeTotal(), sum, "settled and not rejected");
    }

    /// No day (86,400 seconds, counted from 1970) and no 365 days mint more than their caps.
    function invariantDailyAndAnnualCap() external view {
        (uint256 daily, uint256 annual) = world.caps();
        uint256 count = world.mintedCount();
        for (uint256 i; i < count; ++i) {
            (, uint256 start,) = world.minted(i);
            (uint256 inDay, uint256 inYear) = (0, 0);
            for (uint256 j = i; j < count; ++j) {
                (, uint256 time, uint256 amount) = world.minted(j);
                if (time / 1 days == start / 1 days) inDay += amount;
                if (time / 365 days == start / 365 days) inYear += amount;
            }
            le(inDay, daily, "minted in a day");
            le(inYear, annual, "minted in a year");
        }
    }

    function invariantNoEpochMintsTwice() external view {
        for (uint256 i = 1; i < world.mintedCount(); ++i) {
            (uint64 before,,) = world.minted(i - 1);
            (uint64 epoch,,) = world.minted(i);
            check(epoch > before, "rising epochs");
        }
    }

    // Bonds and stakes.

    function invariantBondsAreAccounted() external view {
        uint256 sum;
        for (uint256 i; i < crowd.length; ++i) {
            INodes.Node memory n = nodes.nodeOf(crowd[i]);
            sum += n.bond + n.unbonding + n.notaryBond;
        }
        eq(token.balanceOf(address(nodes)), sum + world.strayed(address(nodes)), "bonds");
    }

    function invariantStakesOfOpenDisputesAreAccounted() external view {
        uint256 sum;
        for (uint256 id = 1; id <= disputes.disputeCount(); ++id) {
            IDisputes.Dispute memory d = disputes.disputeOf(id);
            if (d.phase < IDisputes.Phase.Guilty) sum += d.challengerBond;
        }
        eq(token.balanceOf(address(disputes)), sum + world.strayed(address(disputes)), "stakes");
    }

    function invariantFeesOfWaitingRecordsAreAccounted() external view {
        uint256 sum;
        for (uint256 id = 1; id <= registry.recordCount(); ++id) {
            IDataRegistry.Record memory r = registry.recordOf(id);
            if (r.state == IDataRegistry.State.Pending || r.state == IDataRegistry.State.Challenged) sum += r.fee;
        }
        eq(token.balanceOf(address(registry)), sum + world.strayed(address(registry)), "fees");
    }

    function invariantEscrowOfJobsIsAccounted() external view {
        uint256 sum;
        for (uint256 id = 1; id <= revenue.jobCount(); ++id) {
            IRevenue.Job memory job = revenue.jobOf(id);
            if (job.state != IRevenue.JobState.Paid && job.state != IRevenue.JobState.Refunded) sum += job.reward;
        }
        eq(token.balanceOf(address(revenue)), sum + world.strayed(address(revenue)), "escrow");
    }

    // Seats and nodes.

    /// At most 31, each once, each known to its node with its bond.
    function invariantSeats() external view {
        (address[] memory seats, uint256[] memory bonds) = nodes.notaries();
        le(seats.length, 31, "seats");
        eq(seats.length, nodes.notaryCount(), "count");
        uint256 known;
        for (uint256 i; i < crowd.length; ++i) if (nodes.isNotary(crowd[i])) ++known;
        eq(known, seats.length, "every seat has its node");
        for (uint256 i; i < seats.length; ++i) {
            eq(nodes.nodeOf(seats[i]).notaryBond, bonds[i], "bond of the seat");
            check(nodes.isNotary(seats[i]) && bonds[i] > 0, "a notary with a bond");
            for (uint256 j; j < i; ++j) check(seats[i] != seats[j], "one seat each");
        }
    }

    /// The draw's weights follow the seats: it always finds a notary while there is one.
    function invariantDrawsFindANotary() external view {
        for (uint256 i; i < 4; ++i) {
            address drawn = nodes.drawNotary(keccak256(abi.encode(i, block.number)));
            check(nodes.notaryCount() == 0 ? drawn == address(0) : nodes.isNotary(drawn), "a seated notary");
        }
    }

    function invariantTheBannedStayOut() external view {
        for (uint256 i; i < crowd.length; ++i) {
            if (!nodes.nodeOf(crowd[i]).banned) continue;
            check(!nodes.isActive(crowd[i]) && !nodes.isNotary(crowd[i]), "banned and at work");
        }
    }

    function invariantActiveNodesHoldTheirBond() external view {
        for (uint256 i; i < crowd.length; ++i) {
            INodes.Node memory n = nodes.nodeOf(crowd[i]);
            if (nodes.isActive(crowd[i])) check(n.bond >= params.tierBond(n.tier), "bond of an active node");
            if (n.registered) eq(nodes.addressOf(n.nodeId), crowd[i], "found by its id");
        }
    }

    /// A node is locked by exactly its open disputes, so nothing leaves before the verdict.
    function invariantLocksAreOpenDisputes() external view {
        for (uint256 i; i < crowd.length; ++i) {
            uint256 open;
            for (uint256 id = 1; id <= disputes.disputeCount(); ++id) {
                IDisputes.Dispute memory d = disputes.disputeOf(id);
                if (d.accused == crowd[i] && d.phase < IDisputes.Phase.Guilty) ++open;
            }
            eq(nodes.nodeOf(crowd[i]).locks, open, "locks");
        }
    }

    // Epochs and verdicts.

    function invariantOpenCommitsAreFew() external view {
        for (uint256 i; i < crowd.length; ++i) le(epochs.openCommits(crowd[i]), 10, "open commitments");
    }

    /// A root that was final is only followed by a later one; the newest is what claims are against.
    function invariantFinalityIsNeverUndone() external view {
        uint256 count = world.finalCount();
        (bytes32 root, uint64 epoch) = epochs.finalRoot();
        if (count == 0) return check(root == 0, "no root yet");
        eq(root, world.finalRoots(count - 1), "the newest final root");
        eq(epoch, world.finalEpochs(count - 1), "its epoch");
        for (uint256 i = 1; i < count; ++i) {
            check(world.finalEpochs(i) > world.finalEpochs(i - 1), "rising");
        }
    }

    /// No parameter acts inside a running epoch, and history does not change.
    function invariantValuesOfAnEpochNeverChange() external view {
        uint256 count = world.epochsSeenCount();
        for (uint256 i = count > 4 ? count - 4 : 0; i < count; ++i) {
            uint64 epoch = world.epochsSeen(i);
            eq(keccak256(abi.encode(params.valuesAt(epoch))), world.valuesSeen(epoch), "values");
        }
    }

    function invariantVerdictsStand() external view {
        for (uint256 id = 1; id <= disputes.disputeCount(); ++id) {
            IDisputes.Phase phase = disputes.disputeOf(id).phase;
            if (world.verdict(id) != IDisputes.Phase.None) check(phase == world.verdict(id), "verdict");
        }
    }
}
