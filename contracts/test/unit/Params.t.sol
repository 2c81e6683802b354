// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    Activity,
    DisputePlan,
    EpochPlan,
    Offence,
    Split,
    Tier,
    Values
} from "../../src/interfaces/ILedgerTypes.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {Parts} from "./Parts.sol";

contract ParamsTest is Parts {
    function setUp() external {
        deployParts();
    }

    function testStartsWithTheFirstVersion() external view {
        eq(params.versionAt(0), 1, "version");
        eq(params.versionAt(type(uint64).max), 1, "version for ever");
        eq(params.currentEpoch(), 0, "epoch");
        eq(params.epochEnd(0), genesis + EPOCH, "end");
        eq(params.treasury(), OWNER, "treasury");
        check(params.blockRandomness(), "block randomness");
        same(params.current(), defaultValues());
    }

    function testOnlyTheOwnerSchedules() external {
        Values memory next = defaultValues();
        expect(IParams.NotOwner.selector, address(this));
        params.schedule(next);
    }

    function testNothingChangesInsideAnEpoch() external {
        toEpoch(7);
        Values memory next = defaultValues();
        next.epochPool = 5;
        vm.expectEmit(address(params));
        emit IParams.ValuesScheduled(2, 8);
        govern(next);
        eq(params.current().epochPool, 1_000 * MAG, "running");
        vm.warp(endOf(7) - 1);
        eq(params.current().epochPool, 1_000 * MAG, "last second");
        eq(params.planAt(7).epochPool, 1_000 * MAG, "plan");
        vm.warp(endOf(7));
        eq(params.current().epochPool, 5, "next");
        eq(params.valuesAt(7).epochPool, 1_000 * MAG, "epoch before, looked at later");
        eq(params.planAt(7).epochPool, 1_000 * MAG, "plan, later");
    }

    function testAWaitingVersionIsReplaced() external {
        Values memory next = defaultValues();
        next.epochPool = 5;
        govern(next);
        next.epochPool = 6;
        vm.expectEmit(address(params));
        emit IParams.ValuesScheduled(2, 1);
        govern(next);
        toEpoch(1);
        eq(params.current().epochPool, 6, "replaced");
        eq(params.versionAt(1), 2, "version");
        next.epochPool = 7;
        govern(next);
        eq(params.versionAt(2), 3, "next version");
        eq(params.current().epochPool, 6, "in force");
    }

    function testBeforeGenesisIsEpochZero() external {
        vm.warp(genesis - 1);
        eq(params.currentEpoch(), 0, "epoch");
        Values memory next = defaultValues();
        next.epochPool = 5;
        govern(next);
        toEpoch(0);
        eq(params.current().epochPool, 1_000 * MAG, "epoch 0");
        toEpoch(1);
        eq(params.current().epochPool, 5, "epoch 1");
    }

    /// A version for every chosen epoch; then each is found from any epoch.
    function testFuzzFindsTheVersionOfAnyEpoch(uint256 seed, uint8 count) external {
        uint256 versions = 1 + count % 12;
        uint64[] memory starts = new uint64[](versions + 1);
        uint64 epoch = 0;
        for (uint256 i = 1; i <= versions; ++i) {
            epoch += uint64(uint256(keccak256(abi.encode(seed, i))) % 4);
            if (epoch < starts[i - 1]) epoch = starts[i - 1];
            toEpoch(epoch);
            Values memory next = defaultValues();
            next.dataFee = uint96(i);
            govern(next);
            starts[i] = epoch + 1;
        }
        for (uint64 e = 0; e <= epoch + 2; ++e) {
            uint256 version = 0;
            for (uint256 i = 1; i <= versions; ++i) {
                if (starts[i] <= e) version = i;
            }
            eq(params.versionAt(e), version + 1, "version");
            eq(params.valuesAt(e).dataFee, version == 0 ? 5 * MAG : version, "fee");
        }
    }

    function testNarrowReadsAgreeWithTheWhole() external {
        Values memory next = odd();
        govern(next);
        toEpoch(1);
        same(params.current(), next);
        EpochPlan memory plan = params.planAt(1);
        eq(plan.end, params.epochEnd(1), "end");
        eq(plan.epochPool, next.epochPool, "epochPool");
        eq(plan.dailyCap, next.dailyCap, "dailyCap");
        eq(plan.annualCap, next.annualCap, "annualCap");
        eq(plan.commitSeconds, next.commitSeconds, "commitSeconds");
        eq(plan.revealSeconds, next.revealSeconds, "revealSeconds");
        eq(plan.proposerSeconds, next.proposerSeconds, "proposerSeconds");
        eq(plan.challengeSeconds, next.challengeSeconds, "challengeSeconds");
        eq(plan.settleSeconds, next.settleSeconds, "settleSeconds");
        DisputePlan memory dispute = params.disputePlan();
        eq(dispute.voteCommitSeconds, next.voteCommitSeconds, "voteCommitSeconds");
        eq(dispute.voteRevealSeconds, next.voteRevealSeconds, "voteRevealSeconds");
        eq(dispute.challengerBond, next.challengerBond, "challengerBond");
        eq(dispute.panelSize, next.panelSize, "panelSize");
        for (uint256 i = 0; i < 6; ++i) {
            eq(params.slashBps(Offence(i)), next.slashBps[i], "slashBps");
        }
        for (uint256 i = 0; i < 5; ++i) eq(params.tierBond(Tier(i)), next.tierBonds[i], "tierBond");
        for (uint256 i = 0; i < 3; ++i) {
            Split memory split = params.splitAt(1, Activity(i));
            eq(split.provider, next.splits[i].provider, "split");
            eq(split.burned, next.splits[i].burned, "split");
            eq(params.splitAt(0, Activity(i)).treasury, defaultValues().splits[i].treasury, "split");
        }
        eq(params.notaryBond(), next.notaryBond, "notaryBond");
        eq(params.unbondingSeconds(), next.unbondingSeconds, "unbondingSeconds");
        eq(params.dataChallengeSeconds(), next.dataChallengeSeconds, "dataChallengeSeconds");
        eq(params.dataFee(), next.dataFee, "dataFee");
    }

    function testNobodyUnbondsAroundAChange() external {
        // Long windows first, with an unbonding time that covers them; then short ones of both at once:
        // what is done in the last epoch of the long ones could no longer be slashed.
        Values memory long = defaultValues();
        long.dataChallengeSeconds = 10_000;
        long.unbondingSeconds = 10_240;
        govern(long);
        toEpoch(1);
        Values memory short = defaultValues();
        refuse(short, "unbondingSeconds");
        short.unbondingSeconds = 10_240;
        govern(short);
        // Replacing what waits is measured against what runs, too.
        refuse(defaultValues(), "unbondingSeconds");
        // Nor in two steps: what was done in the last second of the long windows, the end of epoch 1, is
        // judged for 10,240 s. Epoch 13 begins 6,600 s after it, epoch 14 7,200 s.
        toEpoch(2);
        refuse(defaultValues(), "unbondingSeconds");
        toEpoch(12);
        refuse(defaultValues(), "unbondingSeconds");
        toEpoch(13);
        govern(defaultValues());
        eq(params.valuesAt(14).unbondingSeconds, 3_600, "in time");
    }

    function testRefusesWhatLiesOutsideItsBound() external {
        for (uint256 which = 0; which < 49; ++which) {
            (Values memory v, bytes32 field) = wrong(which);
            refuse(v, field);
        }
    }

    function testTakesWhatLiesOnItsBound() external {
        Values memory v = defaultValues();
        (v.epochPool, v.dailyCap, v.dataFee, v.panelSize) = (0, 0, 0, 1);
        (v.commitSeconds, v.revealSeconds, v.proposerSeconds, v.challengeSeconds) = (30, 30, 30, 30);
        (v.voteCommitSeconds, v.voteRevealSeconds, v.dataChallengeSeconds) = (30, 30, 30);
        v.settleSeconds = 120;
        govern(v);
        toEpoch(1);
        v.unbondingSeconds = 30 + 30 + 30 + 60 + 600;
        v.tierRewards = [uint16(1), 1, 1, 1, 10_000];
        v.slashBps = [uint16(1_000), 10_000, 1_000, 10_000, 1_000, 10_000];
        v.axisWeights = [uint16(0), 0, 10_000, 0, 0];
        v.splits[0] = Split(2_500, 5_000, 2_500);
        v.splits[1] = Split(2_500, 2_500, 5_000);
        v.splits[2] = Split(10_000, 0, 0);
        v.panelSize = 31;
        v.annualCap = uint96(1e9 * MAG);
        v.dailyCap = v.annualCap;
        v.epochPool = v.annualCap;
        v.challengeSeconds = EPOCH - 30;
        v.unbondingSeconds += EPOCH - 60;
        v.settleSeconds = 60 + EPOCH;
        govern(v);
        toEpoch(2);
        same(params.current(), v);
    }

    function testRefusesAWrongConstruction() external {
        bytes memory values = abi.encode(defaultValues());
        refuseConstruction(address(0), genesis, EPOCH, "owner", values);
        refuseConstruction(OWNER, genesis + 365 days + 1, EPOCH, "genesis", values);
        refuseConstruction(OWNER, genesis, 1, "epochSeconds", values);
        refuseConstruction(OWNER, genesis, 7 days + 1, "epochSeconds", values);
        Values memory v = defaultValues();
        v.panelSize = 2;
        refuseConstruction(OWNER, genesis, EPOCH, "panelSize", abi.encode(v));
    }

    function testTheShortestEpochs() external {
        Values memory v = defaultValues();
        (v.commitSeconds, v.revealSeconds, v.proposerSeconds, v.challengeSeconds) = (1, 1, 1, 1);
        address made = create("Params", abi.encode(OWNER, genesis, 2, false, v));
        check(!IParams(made).blockRandomness(), "no block randomness");
        v.commitSeconds = 0;
        vm.expectRevert(abi.encodeWithSelector(IParams.OutOfBounds.selector, bytes32("commitSeconds")));
        this.construct(OWNER, genesis, 2, v);
    }

    function refuseConstruction(
        address owner,
        uint64 start,
        uint32 seconds_,
        bytes32 field,
        bytes memory values
    ) private {
        vm.expectRevert(abi.encodeWithSelector(IParams.OutOfBounds.selector, field));
        this.construct(owner, start, seconds_, abi.decode(values, (Values)));
    }

    function construct(address owner, uint64 start, uint32 seconds_, Values memory v) external {
        create("Params", abi.encode(owner, start, seconds_, true, v));
    }

    function refuse(Values memory v, bytes32 field) private {
        vm.expectRevert(abi.encodeWithSelector(IParams.OutOfBounds.selector, field));
        govern(v);
    }

    /// Every field once below and once above its bound, by number.
    function wrong(uint256 which) private pure returns (Values memory v, bytes32 field) {
        v = defaultValues();
        if (which < 3) return wrongEmission(v, which);
        if (which < 21) return wrongWindow(v, which - 3);
        if (which < 29) return wrongBond(v, which - 21);
        return wrongShare(v, which - 29);
    }

    function wrongEmission(Values memory v, uint256 which)
        private
        pure
        returns (Values memory, bytes32)
    {
        if (which == 0) v.annualCap = uint96(1e9 * MAG + 1);
        if (which == 1) v.dailyCap = v.annualCap + 1;
        if (which == 2) v.epochPool = v.dailyCap + 1;
        return (v, [bytes32("annualCap"), "dailyCap", "epochPool"][which]);
    }

    function wrongWindow(Values memory v, uint256 which)
        private
        pure
        returns (Values memory, bytes32)
    {
        uint32 value = which % 2 == 0 ? 29 : uint32(30 days + 1);
        if (which / 2 == 0) v.commitSeconds = value;
        if (which / 2 == 1) v.revealSeconds = value;
        if (which / 2 == 2) v.proposerSeconds = value;
        if (which / 2 == 3) v.challengeSeconds = value;
        if (which / 2 == 4) v.voteCommitSeconds = value;
        if (which / 2 == 5) v.voteRevealSeconds = value;
        if (which / 2 == 6) v.dataChallengeSeconds = value;
        bytes32[7] memory names = [
            bytes32("commitSeconds"),
            "revealSeconds",
            "proposerSeconds",
            "challengeSeconds",
            "voteCommitSeconds",
            "voteRevealSeconds",
            "dataChallengeSeconds"
        ];
        if (which < 14) return (v, names[which / 2]);
        if (which == 14) v.challengeSeconds = EPOCH - v.proposerSeconds + 1;
        if (which == 14) return (v, "challengeSeconds");
        if (which == 15) v.settleSeconds = 90 + 90 + 60 + 120 - 1;
        if (which == 16) v.settleSeconds = 60 days + 1;
        if (which < 17) return (v, "settleSeconds");
        v.unbondingSeconds = 90 + 90 + 120 + 120 + 120 + EPOCH - 1;
        return (v, "unbondingSeconds");
    }

    function wrongBond(Values memory v, uint256 which)
        private
        pure
        returns (Values memory, bytes32)
    {
        uint96 value = which % 2 == 0 ? uint96(MAG / 100 - 1) : uint96(1e6 * MAG + 1);
        if (which < 2) v.tierBonds[which * 4] = value;
        if (which < 2) return (v, "tierBonds");
        if (which < 4) v.notaryBond = value;
        if (which < 4) return (v, "notaryBond");
        if (which < 6) v.challengerBond = value;
        if (which < 6) return (v, "challengerBond");
        if (which == 6) v.unbondingSeconds = uint32(365 days + 1);
        if (which == 6) return (v, "unbondingSeconds");
        v.dataFee = value;
        return (v, "dataFee");
    }

    function wrongShare(Values memory v, uint256 which)
        private
        pure
        returns (Values memory, bytes32)
    {
        if (which < 5) v.tierRewards[which] = which % 2 == 0 ? 0 : 10_001;
        if (which < 5) return (v, "tierRewards");
        if (which < 11) v.slashBps[which - 5] = which % 2 == 0 ? 999 : 10_001;
        if (which < 11) return (v, "slashBps");
        if (which < 13) v.axisWeights[which - 11] += which % 2 == 0 ? 1 : type(uint16).max - 9_999;
        if (which < 13) return (v, "axisWeights");
        if (which == 13) v.splits[2] = Split(2_499, 5_000, 2_501);
        if (which == 14) v.splits[1] = Split(2_500, 5_001, 2_499);
        if (which == 15) v.splits[0] = Split(2_500, 2_499, 5_001);
        if (which == 16) v.splits[0].burned += 1;
        if (which < 17) return (v, "splits");
        v.panelSize = [0, 5, 34][which - 17];
        return (v, "panelSize");
    }

    /// No two fields alike, so that a swapped pair shows.
    function odd() private pure returns (Values memory v) {
        v = defaultValues();
        v.epochPool = uint96(11 * MAG);
        v.dailyCap = uint96(12 * MAG);
        v.annualCap = uint96(13 * MAG);
        (v.commitSeconds, v.revealSeconds, v.proposerSeconds) = (81, 82, 83);
        (v.challengeSeconds, v.settleSeconds) = (84, 4_001);
        (v.voteCommitSeconds, v.voteRevealSeconds) = (85, 86);
        (v.unbondingSeconds, v.dataChallengeSeconds) = (4_002, 601);
        v.tierRewards = [uint16(5), 4, 3, 2, 1];
        v.tierBonds = [uint96(55 * MAG), uint96(54 * MAG), uint96(53 * MAG), uint96(52 * MAG), uint96(51 * MAG)];
        v.notaryBond = uint96(56 * MAG);
        v.challengerBond = uint96(57 * MAG);
        v.slashBps = [uint16(1_001), 1_002, 1_003, 1_004, 1_005, 1_006];
        v.axisWeights = [uint16(1_000), 1_500, 2_000, 2_500, 3_000];
        v.splits[0] = Split(5_001, 2_998, 2_001);
        v.splits[1] = Split(6_001, 1_998, 2_001);
        v.splits[2] = Split(7_001, 998, 2_001);
        v.dataFee = uint96(58 * MAG);
        v.panelSize = 7;
        v.benchmarkHash = sha256("another");
    }

    function same(Values memory left, Values memory right) private pure {
        eq(keccak256(abi.encode(left)), keccak256(abi.encode(right)), "values");
    }
}
