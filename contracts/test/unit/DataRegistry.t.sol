// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDataRegistry} from "../../src/interfaces/IDataRegistry.sol";
import {Split, Values} from "../../src/interfaces/ILedgerTypes.sol";
import {Parts} from "./Parts.sol";

contract DataRegistryTest is Parts {
    bytes32 private constant HASH = keccak256("content");

    address private ann;

    function setUp() external {
        deployParts();
        populate(2, 0);
        ann = people[0].addr;
    }

    function register() private returns (uint256) {
        vm.prank(ann);
        return registry.registerData(HASH, 1_000, "magnet://set");
    }

    function wrongState(uint256 id, IDataRegistry.State state) private {
        vm.expectRevert(abi.encodeWithSelector(IDataRegistry.WrongState.selector, id, state));
    }

    function testRegisters() external {
        uint256 before = token.balanceOf(ann);
        vm.expectEmit(address(registry));
        emit IDataRegistry.DataRegistered(1, ann, HASH, 1_000, "magnet://set");
        eq(register(), 1, "id");
        IDataRegistry.Record memory record = registry.recordOf(1);
        check(record.state == IDataRegistry.State.Pending, "pending");
        eq(record.contributor, ann, "contributor");
        eq(record.registeredAt, vm.getBlockTimestamp(), "time");
        eq(record.challengeEnd, vm.getBlockTimestamp() + 600, "window");
        eq(record.contentHash, HASH, "hash");
        eq(record.sizeBytes, 1_000, "size");
        eq(record.fee, 5 * MAG, "fee");
        eq(keccak256(bytes(record.uri)), keccak256("magnet://set"), "uri");
        eq(registry.recordByHash(HASH), 1, "by hash");
        eq(registry.recordCount(), 1, "count");
        eq(before - token.balanceOf(ann), 5 * MAG, "paid");
    }

    function testRefusesWhatIsNoRecord() external {
        expect(IDataRegistry.NotActive.selector, address(this));
        registry.registerData(HASH, 1, "");
        vm.startPrank(ann);
        expect(IDataRegistry.EmptyRecord.selector);
        registry.registerData(0, 1, "");
        expect(IDataRegistry.EmptyRecord.selector);
        registry.registerData(HASH, 0, "");
        string memory long = string(new bytes(257));
        expect(IDataRegistry.UriTooLong.selector, 257);
        registry.registerData(HASH, 1, long);
        registry.registerData(HASH, 1, string(new bytes(256)));
        vm.expectRevert(abi.encodeWithSelector(IDataRegistry.AlreadyRegistered.selector, HASH));
        registry.registerData(HASH, 1, "");
        vm.stopPrank();
        expect(IDataRegistry.UnknownRecord.selector, 2);
        registry.recordOf(2);
        expect(IDataRegistry.UnknownRecord.selector, 0);
        registry.confirm(0);
    }

    function testConfirmsAfterTheWindow() external {
        uint256 before = token.balanceOf(ann);
        uint256 supply = token.totalSupply();
        register();
        uint256 end = vm.getBlockTimestamp() + 600;
        vm.warp(end - 1);
        expect(IDataRegistry.WindowOpen.selector, end);
        registry.confirm(1);
        vm.warp(end);
        vm.expectEmit(address(registry));
        emit IDataRegistry.DataConfirmed(1, 2.5e18, 1.5e18, 1e18);
        registry.confirm(1);
        eq(before - token.balanceOf(ann), 2.5e18, "half came back");
        eq(token.balanceOf(OWNER), 1.5e18, "treasury");
        eq(supply - token.totalSupply(), 1e18, "burned");
        eq(token.balanceOf(address(registry)), 0, "nothing left");
        wrongState(1, IDataRegistry.State.Confirmed);
        registry.confirm(1);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IDataRegistry.AlreadyRegistered.selector, HASH));
        registry.registerData(HASH, 1, "");
    }

    function testTheSplitIsTheOneOfItsDay() external {
        register();
        Values memory v = defaultValues();
        v.splits[0] = Split(10_000, 0, 0);
        govern(v);
        skip(EPOCH);
        registry.confirm(1);
        eq(token.balanceOf(OWNER), 1.5e18, "as promised");
        vm.prank(ann);
        registry.registerData("another", 1, "");
        skip(600);
        registry.confirm(2);
        eq(token.balanceOf(OWNER), 1.5e18, "the new one: nothing for the treasury");
        eq(token.balanceOf(address(registry)), 0, "nothing left");
    }

    function testBeforeGenesisCountsToEpochZero() external {
        vm.warp(genesis - 1_000);
        register();
        vm.warp(genesis);
        registry.confirm(1);
        eq(token.balanceOf(OWNER), 1.5e18, "split of epoch 0");
    }

    function testNoFeeIsNoTransfer() external {
        Values memory v = defaultValues();
        v.dataFee = 0;
        govern(v);
        toEpoch(1);
        uint256 before = token.balanceOf(ann);
        register();
        vm.prank(COURT);
        registry.hold(1);
        vm.prank(COURT);
        registry.release(1, true);
        register();
        skip(600);
        registry.confirm(2);
        eq(token.balanceOf(ann), before, "free");
    }

    function testOnlyDisputesHolds() external {
        register();
        expect(IDataRegistry.NotDisputes.selector, ann);
        vm.prank(ann);
        registry.hold(1);
        expect(IDataRegistry.NotDisputes.selector, ann);
        vm.prank(ann);
        registry.release(1, true);
    }

    function testHoldsOnlyWithinTheWindow() external {
        register();
        wrongState(1, IDataRegistry.State.Pending);
        vm.prank(COURT);
        registry.release(1, false);
        uint256 end = vm.getBlockTimestamp() + 600;
        vm.warp(end);
        expect(IDataRegistry.WindowOver.selector, end);
        vm.prank(COURT);
        registry.hold(1);
        vm.warp(end - 1);
        vm.expectEmit(address(registry));
        emit IDataRegistry.DataChallenged(1);
        vm.prank(COURT);
        eq(registry.hold(1), ann, "contributor");
        wrongState(1, IDataRegistry.State.Challenged);
        vm.prank(COURT);
        registry.hold(1);
        vm.warp(end);
        wrongState(1, IDataRegistry.State.Challenged);
        registry.confirm(1);
    }

    function testAChallengeTakesNobodysTime() external {
        register();
        skip(599);
        vm.prank(COURT);
        registry.hold(1);
        skip(10_000);
        uint256 end = vm.getBlockTimestamp() + 1;
        vm.expectEmit(address(registry));
        emit IDataRegistry.DataReleased(1, uint64(end));
        vm.prank(COURT);
        registry.release(1, false);
        expect(IDataRegistry.WindowOpen.selector, end);
        registry.confirm(1);
        // A second accusation is heard in what is left.
        vm.startPrank(COURT);
        registry.hold(1);
        registry.release(1, false);
        vm.stopPrank();
        skip(1);
        registry.confirm(1);
    }

    function testARejectedRecordFreesItsHash() external {
        register();
        uint256 supply = token.totalSupply();
        vm.startPrank(COURT);
        registry.hold(1);
        vm.expectEmit(address(registry));
        emit IDataRegistry.DataRejected(1);
        registry.release(1, true);
        vm.stopPrank();
        eq(supply - token.totalSupply(), 5 * MAG, "the fee is burned");
        check(registry.recordOf(1).state == IDataRegistry.State.Rejected, "rejected");
        eq(registry.recordByHash(HASH), 0, "free");
        skip(600);
        wrongState(1, IDataRegistry.State.Rejected);
        registry.confirm(1);
        vm.prank(people[1].addr);
        eq(registry.registerData(HASH, 1, "better"), 2, "by another");
    }

    function testFuzzNoFeeIsLostOrMade(uint96 fee, uint16 a, uint16 b) external {
        Values memory v = defaultValues();
        v.dataFee = uint96(bound(fee, 0, 1_000 * MAG));
        a = uint16(bound(a, 2_500, 5_000));
        b = uint16(bound(b, 0, 5_000));
        v.splits[0] = Split(10_000 - uint16(b) - uint16((5_000 - b) * uint256(a) / 10_000), b, 0);
        v.splits[0].burned = 10_000 - v.splits[0].provider - b;
        govern(v);
        toEpoch(1);
        uint256 before = token.balanceOf(ann);
        uint256 supply = token.totalSupply();
        register();
        skip(600);
        registry.confirm(1);
        eq(token.balanceOf(address(registry)), 0, "nothing stays");
        uint256 spent = before - token.balanceOf(ann);
        eq(spent, token.balanceOf(OWNER) + supply - token.totalSupply(), "nothing made or lost");
    }
}
