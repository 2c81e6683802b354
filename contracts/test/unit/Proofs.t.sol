// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {Offence, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Ledger} from "../Ledger.sol";
import {Vm} from "../Vm.sol";

/// Offences that the chain sees by itself: what proves them, what does not, once each.
contract ProofsTest is Ledger {
    bytes32 private constant RESULT = "result";
    bytes32 private constant NONCE = "nonce";
    uint256 private constant SCORE = 7;

    Vm.Wallet private culprit;

    function setUp() external {
        deployLedger(defaultValues());
        populate(9, 7);
        culprit = people[8];
    }

    function none() private {
        vm.expectRevert(IDisputes.NotAnOffence.selector);
    }

    function notSigner() private {
        vm.expectRevert(abi.encodeWithSelector(IDisputes.NotSigner.selector, culprit.addr));
    }

    function punishedAlready(uint256 epoch) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IDisputes.AlreadyPunished.selector, Offence.Mismatch, culprit.addr, epoch
            )
        );
    }

    /// Digest under the domain of Disputes, as any wallet computes it.
    function digestOf(bytes32 body) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Magnet Disputes"),
                keccak256("1"),
                block.chainid,
                address(disputes)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, body));
    }

    function signCommit(Vm.Wallet memory who, uint64 epoch, bytes32 commitment)
        private
        view
        returns (bytes memory)
    {
        bytes32 kind = keccak256("Commit(uint64 epoch,bytes32 commitment)");
        return signatureOf(who, digestOf(keccak256(abi.encode(kind, epoch, commitment))));
    }

    function signReveal(Vm.Wallet memory who, uint64 epoch, bytes32 result)
        private
        view
        returns (bytes memory)
    {
        bytes32 kind = keccak256("Reveal(uint64 epoch,bytes32 resultHash,uint256 score,bytes32 nonce)");
        return signatureOf(who, digestOf(keccak256(abi.encode(kind, epoch, result, SCORE, NONCE))));
    }

    function commitmentTo(bytes32 result) private view returns (bytes32) {
        return epochs.commitmentOf(0, culprit.addr, result, SCORE, NONCE);
    }

    function proveMismatch(bytes32 commitment, bytes memory sign, bytes32 result, bytes memory opening)
        private
    {
        disputes.proveMismatch(0, culprit.addr, commitment, sign, result, SCORE, NONCE, opening);
    }

    function proveDouble(bytes32 a, bytes memory signA, bytes32 b, bytes memory signB) private {
        disputes.proveDoubleCommit(0, culprit.addr, a, signA, b, signB);
    }

    // On the chain.

    function testNoReveal() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        none();
        disputes.punishNoReveal(0, culprit.addr);
        toSettle(0);
        vm.warp(block.timestamp - 1);
        none();
        disputes.punishNoReveal(0, culprit.addr);
        vm.warp(block.timestamp + 1);
        none();
        disputes.punishNoReveal(0, people[0].addr);
        vm.expectEmit(address(disputes));
        emit IDisputes.Punished(Offence.NoReveal, culprit.addr, bytes32(0), people[0].addr, 3 * MAG);
        vm.prank(people[0].addr);
        disputes.punishNoReveal(0, culprit.addr);
        eq(stakeOf(culprit.addr), 27 * MAG, "a tenth");
        eq(token.balanceOf(people[0].addr), PURSE - 130 * MAG + 15 * MAG / 10, "half for showing it");
        none();
        disputes.punishNoReveal(0, culprit.addr);
        none();
        disputes.punishMismatch(0, culprit.addr);
    }

    function testWhoOpenedIsNotPunished() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        toReveal(0);
        vm.prank(culprit.addr);
        epochs.reveal(0, RESULT, SCORE, NONCE);
        toSettle(0);
        none();
        disputes.punishNoReveal(0, culprit.addr);
        none();
        disputes.punishMismatch(0, culprit.addr);
    }

    function testNobodyEarnsByReportingOneself() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        toSettle(0);
        uint256 before = token.balanceOf(culprit.addr);
        vm.prank(culprit.addr);
        disputes.punishNoReveal(0, culprit.addr);
        eq(token.balanceOf(culprit.addr), before, "all is burned");
    }

    function testMismatchOnTheChain() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        none();
        disputes.punishMismatch(0, culprit.addr);
        toReveal(0);
        vm.prank(culprit.addr);
        epochs.reveal(0, "other", SCORE, NONCE);
        disputes.punishMismatch(0, culprit.addr);
        eq(stakeOf(culprit.addr), 21 * MAG, "30%");
        none();
        disputes.punishMismatch(0, culprit.addr);
        toSettle(0);
        none();
        disputes.punishNoReveal(0, culprit.addr);
        // Nor by another way for the same epoch.
        bytes32 made = commitmentTo(RESULT);
        bytes memory opening = signReveal(culprit, 0, "other");
        punishedAlready(0);
        proveMismatch(made, "", "other", opening);
    }

    /// A vote to raise the rates reaches back to nobody.
    function testRatesAreOfTheOffencesEpoch() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        Values memory v = defaultValues();
        v.slashBps[0] = 9_000;
        vm.prank(timelock);
        params.schedule(v);
        vm.warp(endOf(2));
        disputes.punishNoReveal(0, culprit.addr);
        eq(stakeOf(culprit.addr), 27 * MAG, "a tenth");
    }

    // By signatures.

    function testMismatchBySignatures() external {
        bytes32 made = commitmentTo(RESULT);
        bytes memory sign = signCommit(culprit, 0, made);
        bytes memory opening = signReveal(culprit, 0, "other");
        vm.expectEmit(address(disputes));
        emit IDisputes.Punished(Offence.Mismatch, culprit.addr, bytes32(0), address(this), 9 * MAG);
        proveMismatch(made, sign, "other", opening);
        eq(stakeOf(culprit.addr), 21 * MAG, "30%");
        punishedAlready(0);
        proveMismatch(made, sign, "other", opening);
    }

    function testWhatProvesNoMismatch() external {
        bytes32 made = commitmentTo(RESULT);
        bytes memory sign = signCommit(culprit, 0, made);
        bytes memory opening = signReveal(culprit, 0, RESULT);
        none();
        proveMismatch(made, sign, RESULT, opening);
        // Another's signature, on either side; of another epoch; of another form.
        opening = signReveal(culprit, 0, "other");
        bytes memory forged = signCommit(people[0], 0, made);
        notSigner();
        proveMismatch(made, forged, "other", opening);
        forged = signReveal(people[0], 0, "other");
        notSigner();
        proveMismatch(made, sign, "other", forged);
        forged = signCommit(culprit, 1, made);
        notSigner();
        proveMismatch(made, forged, "other", opening);
        forged = signReveal(culprit, 1, "other");
        notSigner();
        proveMismatch(made, sign, "other", forged);
        notSigner();
        proveMismatch(made, "short", "other", opening);
        notSigner();
        proveMismatch(made, sign, "other", "");
        // Not on the chain, and nothing that was committed at all.
        notSigner();
        proveMismatch(made, "", "other", opening);
        notSigner();
        proveMismatch(0, "", "other", opening);
        // Signed for another chain.
        vm.chainId(7);
        forged = signCommit(culprit, 0, made);
        vm.chainId(31_337);
        notSigner();
        proveMismatch(made, forged, "other", opening);
        eq(stakeOf(culprit.addr), 30 * MAG, "untouched");
    }

    function testACommitmentOnTheChainNeedsNoSignature() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        proveMismatch(commitmentTo(RESULT), "", "other", signReveal(culprit, 0, "other"));
        eq(stakeOf(culprit.addr), 21 * MAG, "30%");
        // The withheld reveal is an offence of its own.
        toSettle(0);
        disputes.punishNoReveal(0, culprit.addr);
        eq(stakeOf(culprit.addr), 21 * MAG * 9 / 10, "and a tenth");
    }

    function testDoubleCommit() external {
        bytes memory a = signCommit(culprit, 0, "a");
        bytes memory b = signCommit(culprit, 0, "b");
        none();
        proveDouble("a", a, "a", a);
        notSigner();
        proveDouble("a", a, "b", a);
        notSigner();
        proveDouble("b", a, "a", a);
        bytes memory forged = signCommit(people[0], 0, "b");
        notSigner();
        proveDouble("a", a, "b", forged);
        proveDouble("a", a, "b", b);
        eq(stakeOf(culprit.addr), 21 * MAG, "30%");
        punishedAlready(0);
        proveDouble("b", b, "a", a);
    }

    function testOneSignedAndAnotherOnTheChain() external {
        toCommit(0);
        commitAs(8, 0, RESULT, SCORE, NONCE);
        bytes32 made = commitmentTo(RESULT);
        bytes memory sign = signCommit(culprit, 0, made);
        none();
        proveDouble(made, "", made, sign);
        proveDouble(made, "", "b", signCommit(culprit, 0, "b"));
        eq(stakeOf(culprit.addr), 21 * MAG, "30%");
    }

    // Approvers.

    function convict() private returns (uint256 id) {
        settle(0, "bad", 9);
        address proposer = epochs.lastSettlement().proposer;
        id = challengeAs(culprit.addr, Offence.BadRoot, proposer, 0);
        judge(id, true);
    }

    function testApproversArePunished() external {
        convict();
        uint256 balance = token.balanceOf(culprit.addr);
        uint256 stakes;
        for (uint256 i; i < signers.length; ++i) stakes += stakeOf(signers[i]);
        vm.expectRevert(IDisputes.WrongSigners.selector);
        disputes.punishApprovers(0, "bad", new address[](0));
        none();
        disputes.punishApprovers(1, "bad", signers);
        none();
        disputes.punishApprovers(0, "other", signers);
        // Whoever calls: who proved the root bad is paid.
        vm.prank(people[6].addr);
        disputes.punishApprovers(0, "bad", signers);
        for (uint256 i; i < signers.length; ++i) {
            eq(stakeOf(signers[i]), 0, "all");
            check(!nodes.isNotary(signers[i]), "out of the seat");
        }
        check(stakes > 0, "there was something");
        eq(token.balanceOf(culprit.addr) - balance, stakes / 2, "half for the challenger");
        none();
        disputes.punishApprovers(0, "bad", signers);
    }

    /// A signer who accuses the proposer loses the own bond whole.
    function testASignerEarnsNothingOfTheOwnBond() external {
        // Until the proposer is none of the signers.
        uint64 epoch;
        address proposer;
        for (;; ++epoch) {
            toSettle(epoch);
            proposer = epochs.proposerOf(epoch);
            if (proposer > people[2].addr) break;
            toFallback(epoch);
            settleAs(people[7].addr, epoch, bytes32(uint256(epoch) + 1), epochs.poolOf(epoch), 9);
            toFinal(epoch);
        }
        settle(epoch, "bad", 9);
        uint256 id = challengeAs(people[0].addr, Offence.BadRoot, proposer, bytes32(uint256(epoch)));
        judge(id, true);
        uint256 balance = token.balanceOf(people[0].addr);
        uint256 others;
        for (uint256 i = 1; i < signers.length; ++i) others += stakeOf(signers[i]);
        disputes.punishApprovers(epoch, "bad", signers);
        eq(stakeOf(people[0].addr), 0, "all");
        eq(token.balanceOf(people[0].addr) - balance, others / 2, "half of the others' only");
    }
}
