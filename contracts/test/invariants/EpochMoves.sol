// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {Offence} from "../../src/interfaces/ILedgerTypes.sol";
import {Tree} from "../Tree.sol";
import {Vm} from "../Vm.sol";
import {World} from "./World.sol";

/// Epochs: commitments, reveals, settlements good and bad, claims.
abstract contract EpochMoves is World {
    /// The newest epoch that has ended; the first one is waited for.
    function ended() internal returns (uint64) {
        if (params.currentEpoch() == 0) forward(endOf(0));
        return params.currentEpoch() - 1;
    }

    /// Notaries by rising address, as many as are asked for.
    function signWith(bytes32 digest, uint256 needed) internal returns (bytes[] memory list) {
        list = new bytes[](needed);
        delete signers;
        for (uint256 i; i < CROWD && signers.length < needed; ++i) {
            if (!nodes.isNotary(people[i].addr)) continue;
            list[signers.length] = signatureOf(people[i], digest);
            signers.push(people[i].addr);
        }
    }

    function openingOf(address node, uint64 epoch) internal pure returns (bytes32, uint256, bytes32) {
        return (keccak256(abi.encode(node, epoch)), epoch, bytes32("nonce"));
    }

    function commit(uint256 who) external move("commit") {
        uint64 epoch = ended();
        address node = person(who);
        (bytes32 result, uint256 score, bytes32 nonce) = openingOf(node, epoch);
        bytes32 commitment = epochs.commitmentOf(epoch, node, result, score, nonce);
        vm.prank(node);
        epochs.commit(epoch, commitment);
    }

    /// Everybody of one parity commits at once, as at an epoch's start.
    function commitMany(uint256 seed) external move("commitMany") {
        uint64 epoch = params.currentEpoch();
        forward(endOf(epoch));
        for (uint256 i = seed % 2; i < CROWD; i += 2) {
            address node = people[i].addr;
            (bytes32 result, uint256 score, bytes32 nonce) = openingOf(node, epoch);
            bytes32 commitment = epochs.commitmentOf(epoch, node, result, score, nonce);
            vm.prank(node);
            try epochs.commit(epoch, commitment) {} catch {}
        }
    }

    /// Opens what was committed for the epoch that ended; commits first where nothing was.
    function reveal(uint256 who, uint256 honest) external move("reveal") {
        uint64 epoch = ended();
        address node = person(who);
        (bytes32 result, uint256 score, bytes32 nonce) = openingOf(node, epoch);
        if (epochs.commitState(epoch, node) == IEpochs.CommitState.None) {
            forward(endOf(++epoch));
            (result, score, nonce) = openingOf(node, epoch);
            bytes32 commitment = epochs.commitmentOf(epoch, node, result, score, nonce);
            vm.prank(node);
            epochs.commit(epoch, commitment);
        }
        (, uint64 commitEnd,,,) = epochs.windowsOf(epoch);
        forward(commitEnd);
        vm.prank(node);
        epochs.reveal(epoch, result, honest % 3 == 0 ? score + 1 : score, nonce);
    }

    function commitRoot(uint256 seed) external move("commitRoot") {
        uint64 epoch = ended();
        vm.prank(epochs.proposerOf(epoch));
        epochs.commitRoot(epoch, keccak256(abi.encode(seed)), 1 + seed % 100);
    }

    /// Pays the pool out to the crowd in parts that the seed chooses; the last one gets the rest.
    function settleWell(uint256 seed) external move("settleWell") {
        (uint64 epoch, address sender) = turn(seed);
        uint256 total = epochs.poolOf(epoch);
        require(total > 0);
        address[] memory accounts = new address[](CROWD);
        uint256[] memory sums = new uint256[](CROWD);
        uint256 rest = total;
        for (uint256 i; i < CROWD; ++i) {
            uint256 part = i + 1 == CROWD ? rest : rest * (uint8(uint256(keccak256(abi.encode(seed, i))))) / 1024;
            rest -= part;
            accounts[i] = people[i].addr;
            sums[i] = finalSum[accounts[i]] + part;
        }
        propose(sender, epoch, Tree.build(accounts, sums)[0], total, CROWD);
        for (uint256 i; i < CROWD; ++i) waitingSum[accounts[i]] = sums[i];
    }

    /// A root that gives one thief everything is signed by corrupt notaries, challenged, judged, undone.
    function settleBadly(uint256 seed) external move("settleBadly") {
        require(seed % 2 == 0 && nodes.notaryCount() >= 7);
        (uint64 epoch, address sender) = turn(seed / 2);
        uint256 total = epochs.poolOf(epoch);
        require(total > 0);
        bytes32 root = Tree.leafOf(address(0xbad), epochs.cumulativeTotal() + total);
        propose(sender, epoch, root, total, 1);
        address challenger = people[CROWD - 1].addr == sender ? people[CROWD - 2].addr : people[CROWD - 1].addr;
        uint256 id = challengeAs(challenger, Offence.BadRoot, sender, bytes32(uint256(epoch)));
        judge(id, true);
        disputes.punishApprovers(epoch, root, signers);
    }

    function turn(uint256 seed) private returns (uint64 epoch, address sender) {
        IEpochs.Settlement memory last = epochs.lastSettlement();
        if (last.settledAt != 0 && !last.rejected && !epochs.isFinal(last.epoch)) toFinalOf(last);
        epoch = params.currentEpoch();
        if (seed % 3 == 0 && epoch > 0) --epoch;
        (,, uint64 revealEnd, uint64 proposerEnd,) = epochs.windowsOf(epoch);
        forward(seed % 5 == 0 ? proposerEnd : revealEnd);
        look();
        sender = epochs.proposerOf(epoch);
        if (vm.getBlockTimestamp() < proposerEnd) return (epoch, sender);
        for (uint256 i; i < CROWD && !nodes.isActive(sender); ++i) sender = people[(seed + i) % CROWD].addr;
    }

    function toFinalOf(IEpochs.Settlement memory last) private {
        forward(uint256(last.settledAt) + params.valuesAt(last.epoch).challengeSeconds);
    }

    function propose(address sender, uint64 epoch, bytes32 root, uint256 total, uint256 count) private {
        bytes32 data = sha256(abi.encode(root));
        bytes[] memory list =
            signWith(epochs.settlementDigest(epoch, root, total, count, data), epochs.signaturesNeeded());
        vm.prank(sender);
        epochs.settle(epoch, root, total, count, data, list);
        minted.push(Minted(epoch, vm.getBlockTimestamp(), total));
        (waiting, waitingRoot, waitingEpoch) = (true, root, epoch);
    }

    function claim(uint256 who) external move("claim") {
        address account = person(who);
        (address[] memory accounts, uint256[] memory sums) = (new address[](CROWD), new uint256[](CROWD));
        for (uint256 i; i < CROWD; ++i) (accounts[i], sums[i]) = (people[i].addr, finalSum[people[i].addr]);
        bytes32[] memory tree = Tree.build(accounts, sums);
        uint256 before = token.balanceOf(account);
        claimAs(tree, account, finalSum[account]);
        claimedSum += token.balanceOf(account) - before;
    }

    /// What nobody is owed: a larger sum, another's proof, an older root's leaf.
    function claimFalsely(uint256 who, uint256 extra) external move("claimFalsely") {
        address account = person(who);
        (address[] memory accounts, uint256[] memory sums) = (new address[](CROWD), new uint256[](CROWD));
        for (uint256 i; i < CROWD; ++i) (accounts[i], sums[i]) = (people[i].addr, finalSum[people[i].addr]);
        bytes32[] memory tree = Tree.build(accounts, sums);
        bytes32[] memory path = Tree.proof(tree, Tree.leafOf(account, finalSum[account]));
        uint256 sum = finalSum[account] + 1 + extra % POOL;
        (bool paid,) = address(epochs).call(abi.encodeCall(IEpochs.claim, (account, sum, path)));
        check(!paid, "a false claim was paid");
    }
}
