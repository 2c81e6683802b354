// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IDataRegistry} from "../src/interfaces/IDataRegistry.sol";
import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {IEpochs} from "../src/interfaces/IEpochs.sol";
import {Offence, Split, Tier, Values} from "../src/interfaces/ILedgerTypes.sol";
import {IMagToken} from "../src/interfaces/IMagToken.sol";
import {INodes} from "../src/interfaces/INodes.sol";
import {IParams} from "../src/interfaces/IParams.sol";
import {IRevenue} from "../src/interfaces/IRevenue.sol";
import {Base} from "./Base.sol";
import {Tree} from "./Tree.sol";
import {Vm} from "./Vm.sol";

interface IMag is IERC20, IERC20Permit, IMagToken {}

/// The whole ledger, deployed at predicted addresses in the order of the deployment, with people in it.
/// The contracts come from their artifacts and are known by their interfaces only: a changed contract
/// then costs its own compilation and not that of every test.
abstract contract Ledger is Base {
    uint256 internal constant MAG = 1e18;
    uint32 internal constant EPOCH = 600;
    uint256 internal constant SUPPLY = 1_000_000 * MAG;
    uint256 internal constant PURSE = 10_000 * MAG;

    IMag internal token;
    IParams internal params;
    INodes internal nodes;
    IEpochs internal epochs;
    IDisputes internal disputes;
    IDataRegistry internal registry;
    IRevenue internal revenue;
    address internal timelock;
    address internal votes;
    address internal governor;
    uint64 internal genesis;

    /// Registered CPU-only nodes, by rising address; the first `seated` are notaries.
    Vm.Wallet[] internal people;
    uint256 internal seated;

    // Deployment.

    function deployLedger(Values memory values) internal {
        deployLedger(values, true);
    }

    function deployLedger(Values memory values, bool blockRandomness) internal {
        genesis = uint64(vm.getBlockTimestamp());
        uint256 nonce = vm.getNonce(address(this));
        address[10] memory spot;
        for (uint256 i; i < spot.length; ++i) spot[i] = vm.computeCreateAddress(address(this), nonce + i);
        timelock = spot[7];
        address[10] memory made;
        made[0] = createToken(spot[3]);
        made[1] = create("Params", abi.encode(timelock, genesis, EPOCH, blockRandomness, values));
        made[2] = create("Nodes", abi.encode(spot[0], spot[1], spot[4]));
        made[3] = create("Epochs", abi.encode(spot[0], spot[1], spot[2], spot[4]));
        made[4] = create("Disputes", abi.encode(spot[0], spot[1], spot[2], spot[3], spot[5], spot[6]));
        made[5] = create("DataRegistry", abi.encode(spot[0], spot[1], spot[2], spot[4]));
        made[6] = create("Revenue", abi.encode(spot[0], spot[1], spot[2], spot[4]));
        for (uint256 i; i < 7; ++i) eq(made[i], spot[i], "predicted address");
        token = IMag(spot[0]);
        params = IParams(spot[1]);
        nodes = INodes(spot[2]);
        epochs = IEpochs(spot[3]);
        disputes = IDisputes(spot[4]);
        registry = IDataRegistry(spot[5]);
        revenue = IRevenue(spot[6]);
    }

    /// Another token where a play is about tokens; its holder is this contract.
    function createToken(address minter) internal virtual returns (address) {
        return create("MagToken", abi.encode(minter, address(this), SUPPLY));
    }

    function create(string memory name, bytes memory arguments) internal returns (address made) {
        string memory artifact = string.concat("contracts/src/", name, ".sol:", name);
        bytes memory code = bytes.concat(vm.getCode(artifact), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
            if iszero(made) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
        vm.label(made, name);
    }

    function defaultValues() internal pure returns (Values memory v) {
        v.epochPool = uint96(1_000 * MAG);
        v.dailyCap = uint96(144_000 * MAG);
        v.annualCap = uint96(52_560_000 * MAG);
        v.commitSeconds = 90;
        v.revealSeconds = 90;
        v.proposerSeconds = 60;
        v.challengeSeconds = 120;
        v.settleSeconds = 3_600;
        v.voteCommitSeconds = 120;
        v.voteRevealSeconds = 120;
        v.unbondingSeconds = 3_600;
        v.dataChallengeSeconds = 600;
        v.tierRewards = [uint16(3_000), 1_000, 300, 300, 100];
        v.tierBonds = [uint96(300 * MAG), uint96(100 * MAG), uint96(30 * MAG), uint96(30 * MAG), uint96(10 * MAG)];
        v.notaryBond = uint96(100 * MAG);
        v.challengerBond = uint96(20 * MAG);
        v.slashBps = [uint16(1_000), 3_000, 3_000, 5_000, 10_000, 10_000];
        v.axisWeights = [uint16(1_000), 5_000, 2_000, 1_000, 1_000];
        v.splits[0] = Split(5_000, 3_000, 2_000);
        v.splits[1] = Split(8_000, 1_000, 1_000);
        v.splits[2] = Split(8_000, 1_000, 1_000);
        v.dataFee = uint96(5 * MAG);
        v.panelSize = 4;
        v.benchmarkHash = sha256("benchmark");
    }

    // People.

    /// Gives an account money, and the contracts leave to take it.
    function fund(address account, uint256 amount) internal {
        token.transfer(account, amount);
        vm.startPrank(account);
        token.approve(address(nodes), type(uint256).max);
        token.approve(address(disputes), type(uint256).max);
        token.approve(address(registry), type(uint256).max);
        token.approve(address(revenue), type(uint256).max);
        vm.stopPrank();
    }

    function join(Vm.Wallet memory who, Tier tier, uint256 bond) internal {
        vm.prank(who.addr);
        nodes.register(bytes32(who.publicKeyX), bytes32(who.publicKeyY), tier, bond);
    }

    /// `count` people with a purse each, by rising address.
    function gather(uint256 count) internal {
        for (uint256 i; i < count; ++i) people.push(actor(string.concat("person ", vm.toString(i))));
        for (uint256 i = 1; i < count; ++i) {
            for (uint256 j = i; j > 0 && people[j].addr < people[j - 1].addr; --j) {
                Vm.Wallet memory lower = people[j];
                people[j] = people[j - 1];
                people[j - 1] = lower;
            }
        }
        for (uint256 i; i < count; ++i) fund(people[i].addr, PURSE);
    }

    /// `count` nodes; the first `notaries` take seats with the least bond.
    function populate(uint256 count, uint256 notaries) internal {
        gather(count);
        seated = notaries;
        for (uint256 i; i < count; ++i) {
            join(people[i], Tier.CpuOnly, 30 * MAG);
            if (i >= notaries) continue;
            vm.prank(people[i].addr);
            nodes.takeSeat(100 * MAG);
        }
    }

    // Time.

    function endOf(uint64 epoch) internal view returns (uint256) {
        return uint256(genesis) + (uint256(epoch) + 1) * EPOCH;
    }

    function toCommit(uint64 epoch) internal {
        vm.warp(endOf(epoch));
    }

    function toReveal(uint64 epoch) internal {
        (, uint64 commitEnd,,,) = epochs.windowsOf(epoch);
        vm.warp(commitEnd);
    }

    function toSettle(uint64 epoch) internal {
        (,, uint64 revealEnd,,) = epochs.windowsOf(epoch);
        vm.warp(revealEnd);
    }

    /// After the proposer's own time: anybody bonded may settle.
    function toFallback(uint64 epoch) internal {
        (,,, uint64 proposerEnd,) = epochs.windowsOf(epoch);
        vm.warp(proposerEnd);
    }

    /// To the first second in which the settlement of this epoch can be final.
    function toFinal(uint64 epoch) internal {
        vm.warp(uint256(epochs.settlementOf(epoch).settledAt) + params.valuesAt(epoch).challengeSeconds);
    }

    // Commitments.

    function commitAs(uint256 who, uint64 epoch, bytes32 result, uint256 score, bytes32 nonce) internal {
        address sender = people[who].addr;
        bytes32 commitment = epochs.commitmentOf(epoch, sender, result, score, nonce);
        vm.prank(sender);
        epochs.commit(epoch, commitment);
    }

    // Settlements.

    /// 65 bytes (r, s, v) as the contracts take them.
    function signatureOf(Vm.Wallet memory who, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(who.privateKey, digest);
        return abi.encodePacked(r, s, v);
    }

    /// Signatures of the first `count` notaries.
    function signatures(bytes32 digest, uint256 count) internal view returns (bytes[] memory list) {
        list = new bytes[](count);
        for (uint256 i; i < count; ++i) list[i] = signatureOf(people[i], digest);
    }

    /// As the newest settlement names them.
    address[] internal signers;

    function settleAs(address sender, uint64 epoch, bytes32 root, uint256 total, uint256 count) internal {
        bytes32 data = sha256(abi.encode("record", epoch, root));
        bytes32 digest = epochs.settlementDigest(epoch, root, total, count, data);
        uint256 needed = epochs.signaturesNeeded();
        bytes[] memory list = signatures(digest, needed);
        delete signers;
        for (uint256 i; i < needed; ++i) signers.push(people[i].addr);
        vm.prank(sender);
        epochs.settle(epoch, root, total, count, data, list);
    }

    /// Settles in the proposer's own time, for the pool of this moment.
    function settle(uint64 epoch, bytes32 root, uint256 count) internal returns (uint256 total) {
        toSettle(epoch);
        total = epochs.poolOf(epoch);
        settleAs(epochs.proposerOf(epoch), epoch, root, total, count);
    }

    /// Settles this tree and waits until it is final. Returns the tree for proofs.
    function settleFor(uint64 epoch, address[] memory accounts, uint256[] memory cumulative)
        internal
        returns (bytes32[] memory tree)
    {
        tree = Tree.build(accounts, cumulative);
        settle(epoch, tree[0], accounts.length);
        toFinal(epoch);
    }

    function claimAs(bytes32[] memory tree, address account, uint256 cumulative) internal {
        epochs.claim(account, cumulative, Tree.proof(tree, Tree.leafOf(account, cumulative)));
    }

    // Disputes.

    function challengeAs(address challenger, Offence offence, address accused, bytes32 subject)
        internal
        returns (uint256 id)
    {
        bytes32 evidence = sha256("evidence");
        vm.prank(challenger);
        id = disputes.challenge(offence, accused, subject, evidence);
    }

    /// Draws the panel in the first block in which that is possible.
    function draw(uint256 id) internal returns (address[] memory panel) {
        vm.roll(uint256(disputes.disputeOf(id).drawBlock) + 1);
        bool root = disputes.disputeOf(id).offence == Offence.BadRoot;
        disputes.drawPanel(id, root ? signers : new address[](0));
        panel = disputes.panelOf(id);
    }

    function voteOf(uint256 id, address notary, bool guilty) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(disputes), id, notary, guilty, bytes32("salt")));
    }

    /// The first `guilty` members of the panel vote so, the others against; then the verdict.
    function castVotes(uint256 id, address[] memory panel, uint256 guilty) internal {
        for (uint256 i; i < panel.length; ++i) {
            bytes32 hidden = voteOf(id, panel[i], i < guilty);
            vm.prank(panel[i]);
            disputes.commitVote(id, hidden);
        }
        vm.warp(disputes.disputeOf(id).commitEnd);
        for (uint256 i; i < panel.length; ++i) {
            vm.prank(panel[i]);
            disputes.revealVote(id, i < guilty, "salt");
        }
        vm.warp(disputes.disputeOf(id).revealEnd);
        disputes.resolve(id);
    }

    /// A whole dispute with one voice.
    function judge(uint256 id, bool guilty) internal {
        address[] memory panel = draw(id);
        castVotes(id, panel, guilty ? panel.length : 0);
    }

    /// All that the ledger could take from a node.
    function stakeOf(address node) internal view returns (uint256) {
        INodes.Node memory n = nodes.nodeOf(node);
        return n.bond + n.unbonding + n.notaryBond;
    }
}
