// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Offence, Tier} from "../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "./Ledger.sol";
import {Tree} from "./Tree.sol";
import {Vm} from "./Vm.sol";

/// What the ledger's calls cost as whole transactions (isolated: forge executes every call of a test as a
/// transaction of its own), intrinsic gas and calldata included. The figures are committed in
/// contracts/snapshots/ledger.json and compared; the goals are checked here.
/// forge-config: default.isolate = true
contract GasSnapshotTest is Ledger {
    string internal constant GROUP = "ledger";
    bytes32 internal constant RESULT = keccak256("result");
    bytes32 internal constant NONCE = keccak256("nonce");

    function setUp() external {
        deployLedger(defaultValues());
        // 13 to 15 notaries are 5 signatures.
        populate(16, 14);
    }

    /// Writes down the last call and holds it to its goal.
    function note(string memory name, uint256 goal) internal {
        uint256 gas = vm.snapshotGasLastCall(GROUP, name);
        check(gas > 21_000, "measured as a transaction");
        if (goal != 0) le(gas, goal, name);
    }

    /// A root over 16,384 leaves that holds this one: 14 siblings as random as true ones.
    function wide(address account, uint256 sum, uint256 seed)
        internal
        pure
        returns (bytes32 root, bytes32[] memory proof)
    {
        root = Tree.leafOf(account, sum);
        proof = new bytes32[](14);
        for (uint256 i; i < 14; ++i) {
            proof[i] = keccak256(abi.encode("sibling", seed, i));
            root = Tree.pair(root, proof[i]);
        }
    }

    function settleWide(uint64 epoch, bytes32 root) internal {
        toSettle(epoch);
        uint256 total = epochs.poolOf(epoch);
        bytes32 data = keccak256(abi.encode("record", epoch));
        bytes[] memory list = signatures(epochs.settlementDigest(epoch, root, total, 16_384, data), 5);
        delete signers;
        for (uint256 i; i < 5; ++i) signers.push(people[i].addr);
        eq(epochs.signaturesNeeded(), 5, "five signatures");
        address proposer = epochs.proposerOf(epoch);
        vm.prank(proposer);
        epochs.settle(epoch, root, total, 16_384, data, list);
    }

    function testGasOfSettlementsAndClaims() external {
        address account = address(0xa11ce);
        uint256 sum = 123_456_789 * MAG / 1_000_000;
        (bytes32 root,) = wide(account, sum, 0);
        settleWide(0, root);
        // Fills the empty purse of Epochs: 17,100 gas more, once in the ledger's life.
        note("settle the very first epoch, 5 signatures", 0);
        toFinal(0);
        (bytes32 next, bytes32[] memory proof) = wide(account, sum, 1);
        settleWide(1, next);
        note("settle an epoch, 5 signatures", 150_000);
        toFinal(1);
        epochs.claim(account, sum, proof);
        note("claim the first time, 16,384 leaves", 100_000);
        (next, proof) = wide(account, 2 * sum, 2);
        settleWide(2, next);
        note("settle a later epoch, 5 signatures", 150_000);
        toFinal(2);
        epochs.claim(account, 2 * sum, proof);
        note("claim again, 16,384 leaves", 60_000);
    }

    function testGasOfNodes() external {
        Vm.Wallet memory who = actor("newcomer");
        fund(who.addr, PURSE);
        join(who, Tier.CpuOnly, 30 * MAG);
        note("register", 200_000);
        vm.prank(who.addr);
        nodes.addBond(70 * MAG);
        note("add to the bond", 0);
        vm.prank(who.addr);
        nodes.takeSeat(100 * MAG);
        note("take a notary's seat", 0);
        vm.prank(who.addr);
        nodes.leaveSeat();
        note("leave the seat", 0);
        vm.prank(who.addr);
        nodes.unbond(100 * MAG);
        note("unbond", 0);
        vm.warp(nodes.nodeOf(who.addr).releaseTime);
        vm.prank(who.addr);
        nodes.withdraw();
        note("withdraw", 0);
    }

    function testGasOfCommitments() external {
        toCommit(0);
        address proposer = epochs.proposerOf(0);
        vm.prank(proposer);
        epochs.commitRoot(0, keccak256("commits"), 10_000);
        note("commit root", 60_000);
        commitAs(0, 0, RESULT, 1_000, NONCE);
        note("commit, one node", 0);
        toReveal(0);
        vm.prank(people[0].addr);
        epochs.reveal(0, RESULT, 1_000, NONCE);
        note("reveal, one node", 0);
        toCommit(1);
        commitAs(1, 1, RESULT, 1_000, NONCE);
        toSettle(1);
        disputes.punishNoReveal(1, people[1].addr);
        note("punish a withheld reveal", 0);
    }

    function testGasOfDisputes() external {
        (bytes32 root,) = wide(address(0xbad), 1_000 * MAG, 0);
        settleWide(0, root);
        address accused = epochs.settlementOf(0).proposer;
        uint256 id = challengeAs(people[15].addr, Offence.BadRoot, accused, bytes32(uint256(0)));
        note("challenge a root", 150_000);
        vm.roll(uint256(disputes.disputeOf(id).drawBlock) + 1);
        disputes.drawPanel(id, signers);
        note("draw a panel of four", 0);
        address[] memory panel = disputes.panelOf(id);
        castVotes(id, panel, panel.length);
        note("resolve: guilty, root rejected", 0);
        disputes.punishApprovers(0, root, signers);
        note("punish five approvers", 0);
        id = challengeAs(people[15].addr, Offence.FalseTier, people[14].addr, bytes32(uint256(params.currentEpoch())));
        // Besides, the slot of the first charge against this node.
        note("challenge a tier, the first time", 0);
    }

    function testGasOfPayments() external {
        bytes32 typehash = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        address shop = people[1].addr;
        bytes32 inner =
            keccak256(abi.encode(typehash, people[0].addr, shop, MAG, 0, type(uint256).max, NONCE));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
        bytes memory signature = signatureOf(people[0], digest);
        token.transferWithAuthorization(people[0].addr, shop, MAG, 0, type(uint256).max, NONCE, signature);
        note("pay by authorization", 0);
        vm.prank(people[0].addr);
        registry.registerData(RESULT, 1e9, "magnet:bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy");
        note("register data", 0);
        vm.prank(people[0].addr);
        revenue.createJob(RESULT, 100 * MAG, uint64(vm.getBlockTimestamp() + 1_000));
        note("create a job", 0);
    }
}
