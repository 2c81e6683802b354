// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDataRegistry} from "../../src/interfaces/IDataRegistry.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {IRevenue} from "../../src/interfaces/IRevenue.sol";
import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {MarketMoves} from "./MarketMoves.sol";

/// Disputes step by step, in any order and with absent judges, and what the chain punishes by itself.
abstract contract DisputeMoves is MarketMoves {
    function accuse(uint256 who, uint256 whom) external move("accuse") {
        challengeAs(person(who), Offence.FalseTier, person(whom), bytes32(uint256(params.currentEpoch())));
    }

    /// Of a record whose window is open; a new one where there is none.
    function accuseData(uint256 who, uint256 which) external move("accuseData") {
        uint256 id = registry.recordCount();
        bool open = id > 0 && registry.recordOf(id).state == IDataRegistry.State.Pending;
        if (!open || vm.getBlockTimestamp() >= registry.recordOf(id).challengeEnd) {
            vm.prank(person(which));
            id = registry.registerData(keccak256(abi.encode(which)), 1, "");
        }
        challengeAs(person(who), Offence.BadData, registry.recordOf(id).contributor, bytes32(id));
    }

    /// A requester contests a result and brings it before the panel.
    function accuseJob(uint256 which) external move("accuseJob") {
        uint256 id = resultOf(which);
        IRevenue.Job memory job = revenue.jobOf(id);
        vm.prank(job.requester);
        revenue.contestResult(id, "reason");
        challengeAs(job.requester, Offence.BadData, job.worker, bytes32((1 << 255) | id));
    }

    function drawSome(uint256 which) external move("drawSome") {
        draw(some(which, IDisputes.Phase.Drawing));
    }

    /// Nobody drew in time.
    function drawLate(uint256 which) external move("drawLate") {
        uint256 id = some(which, IDisputes.Phase.Drawing);
        vm.roll(uint256(disputes.disputeOf(id).drawBlock) + 300);
        disputes.drawPanel(id, new address[](0));
    }

    function guiltyOf(uint256 id, address judge_) internal pure returns (bool) {
        return uint256(keccak256(abi.encode(id))) % 3 != 0 || uint160(judge_) % 5 == 0;
    }

    /// All but those whom the seed leaves out.
    function voteSome(uint256 which, uint256 absent) external move("voteSome") {
        uint256 id = some(which, IDisputes.Phase.VoteCommit);
        address[] memory panel = disputes.panelOf(id);
        for (uint256 i; i < panel.length; ++i) {
            if ((absent >> i) % 8 == 0) continue;
            bytes32 hidden = voteOf(id, panel[i], guiltyOf(id, panel[i]));
            vm.prank(panel[i]);
            try disputes.commitVote(id, hidden) {} catch {}
        }
    }

    function revealSome(uint256 which, uint256 absent) external move("revealSome") {
        uint256 id = some(which, IDisputes.Phase.VoteReveal);
        address[] memory panel = disputes.panelOf(id);
        for (uint256 i; i < panel.length; ++i) {
            if ((absent >> i) % 8 == 0) continue;
            vm.prank(panel[i]);
            try disputes.revealVote(id, guiltyOf(id, panel[i]), "salt") {} catch {}
        }
    }

    function resolveSome(uint256 which) external move("resolveSome") {
        uint256 count = disputes.disputeCount();
        uint256 id = 1 + which % count;
        for (uint256 i; i < count && !voting(id); ++i) id = 1 + id % count;
        IDisputes.Dispute memory d = disputes.disputeOf(id);
        if (which % 2 == 0) forward(d.revealEnd);
        disputes.resolve(id);
    }

    function punishNoReveal(uint256 who, uint256 ago) external move("punishNoReveal") {
        disputes.punishNoReveal(past(ago), inState(who, past(ago), IEpochs.CommitState.Committed));
    }

    function punishMismatch(uint256 who, uint256 ago) external move("punishMismatch") {
        disputes.punishMismatch(past(ago), inState(who, past(ago), IEpochs.CommitState.Mismatched));
    }

    function inState(uint256 who, uint64 epoch, IEpochs.CommitState state) private view returns (address) {
        for (uint256 i; i < CROWD; ++i) {
            address node = person(who % CROWD + i);
            if (epochs.commitState(epoch, node) == state) return node;
        }
        return person(who);
    }

    /// Everybody's debts of one epoch at once.
    function punishAll(uint256 ago) external move("punishAll") {
        for (uint256 i; i < CROWD; ++i) {
            try disputes.punishNoReveal(past(ago), people[i].addr) {} catch {}
            try disputes.punishMismatch(past(ago), people[i].addr) {} catch {}
        }
    }

    function past(uint256 ago) private view returns (uint64) {
        uint64 epoch = params.currentEpoch();
        uint64 back = uint64(ago % 4);
        return epoch > back ? epoch - back : 0;
    }

    function voting(uint256 id) private view returns (bool) {
        IDisputes.Phase phase = disputes.disputeOf(id).phase;
        return phase == IDisputes.Phase.VoteCommit || phase == IDisputes.Phase.VoteReveal;
    }

    /// A dispute in this phase; waits for the votes' second window where that is asked for.
    function some(uint256 which, IDisputes.Phase phase) private returns (uint256 id) {
        uint256 count = disputes.disputeCount();
        require(count > 0);
        id = 1 + which % count;
        bool reveal = phase == IDisputes.Phase.VoteReveal;
        for (uint256 i; i < count; ++i) {
            IDisputes.Dispute memory d = disputes.disputeOf(id);
            if (d.phase == phase) return id;
            if (reveal && d.phase == IDisputes.Phase.VoteCommit) {
                forward(d.commitEnd);
                return id;
            }
            id = 1 + id % count;
        }
        revert("none in this phase");
    }
}
