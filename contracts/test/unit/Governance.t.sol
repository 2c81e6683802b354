// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {Values} from "../../src/interfaces/ILedgerTypes.sol";
import {IParams} from "../../src/interfaces/IParams.sol";
import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {Parts} from "./Parts.sol";

interface IMagGovernor {
    function quorumFloor() external view returns (uint256);
}

/// VoteMag as these tests call it; the contract itself comes from its artifact.
interface IVoteMag is IVotes, IERC6372 {
    function depositFor(address account, uint256 amount) external returns (bool);
    function withdrawTo(address account, uint256 amount) external returns (bool);
    function decimals() external view returns (uint8);
    function nonces(address owner) external view returns (uint256);
}

/// Governance end to end: wrap, delegate, propose, vote, queue, execute.
contract GovernanceTest is Parts {
    uint48 private constant DELAY = 60;
    uint32 private constant PERIOD = 300;
    uint256 private constant WAIT = 120;
    uint256 private constant FLOOR = 40_000 * MAG;

    IVoteMag private vote;
    TimelockController private lock;
    IGovernor private gov;
    address private ann = address(0xA22);

    function setUp() external {
        deployParts();
        address[] memory proposers = new address[](1);
        proposers[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 2);
        vote = IVoteMag(create("VoteMag", abi.encode(token)));
        // Anybody may execute what was voted; nobody administers the timelock but itself.
        lock = new TimelockController(WAIT, proposers, new address[](1), address(0));
        gov = IGovernor(
            payable(create("MagGovernor", abi.encode(vote, lock, DELAY, PERIOD, 1_000 * MAG, 4, FLOOR)))
        );
        eq(address(gov), proposers[0], "predicted");
        params = IParams(
            create("Params", abi.encode(lock, genesis, EPOCH, true, defaultValues()))
        );
    }

    function wrap(address who, uint256 amount) private {
        token.transfer(who, amount);
        vm.startPrank(who);
        token.approve(address(vote), amount);
        vote.depositFor(who, amount);
        vote.delegate(who);
        vm.stopPrank();
        skip(1);
    }

    function proposal(Values memory next)
        private
        view
        returns (address[] memory to, uint256[] memory value, bytes[] memory data)
    {
        to = new address[](1);
        value = new uint256[](1);
        data = new bytes[](1);
        to[0] = address(params);
        data[0] = abi.encodeCall(IParams.schedule, (next));
    }

    function propose(address who, Values memory next) private returns (uint256 id) {
        (address[] memory to, uint256[] memory value, bytes[] memory data) = proposal(next);
        vm.prank(who);
        id = gov.propose(to, value, data, "tiers");
        skip(DELAY + 1);
    }

    function castAs(address who, uint256 id, uint8 support) private {
        vm.prank(who);
        gov.castVote(id, support);
    }

    function better() private pure returns (Values memory next) {
        next = defaultValues();
        next.tierRewards = [uint16(2_000), 1_500, 500, 300, 100];
    }

    function stateIs(uint256 id, IGovernor.ProposalState state) private view {
        eq(uint256(gov.state(id)), uint256(state), "state");
    }

    function testAProposalChangesTheTiersWithTheNextEpoch() external {
        wrap(ann, 50_000 * MAG);
        Values memory next = better();
        uint256 id = propose(ann, next);
        castAs(ann, id, 1);
        skip(PERIOD);
        stateIs(id, IGovernor.ProposalState.Succeeded);
        check(gov.proposalNeedsQueuing(id), "needs the timelock");
        (address[] memory to, uint256[] memory value, bytes[] memory data) = proposal(next);
        gov.queue(to, value, data, keccak256("tiers"));
        stateIs(id, IGovernor.ProposalState.Queued);
        vm.expectRevert();
        gov.execute(to, value, data, keccak256("tiers"));
        // Executed in the last second of an epoch, it still changes nothing in it.
        skip(WAIT);
        uint64 epoch = params.currentEpoch();
        vm.warp(params.epochEnd(epoch) - 1);
        vm.expectEmit(address(params));
        emit IParams.ValuesScheduled(2, epoch + 1);
        gov.execute(to, value, data, keccak256("tiers"));
        stateIs(id, IGovernor.ProposalState.Executed);
        eq(params.current().tierRewards[1], 1_000, "running epoch");
        skip(1);
        eq(params.currentEpoch(), epoch + 1, "next epoch");
        eq(params.current().tierRewards[1], 1_500, "in force");
        eq(params.valuesAt(epoch).tierRewards[1], 1_000, "looking back");
    }

    function testFewVotesAreNoMajority() external {
        // Alone with all votes there are, and still below the floor.
        wrap(ann, FLOOR - 1);
        eq(gov.quorum(vm.getBlockTimestamp() - 1), FLOOR, "floor");
        uint256 id = propose(ann, better());
        castAs(ann, id, 1);
        skip(PERIOD);
        stateIs(id, IGovernor.ProposalState.Defeated);
    }

    function testTheQuorumGrowsWithTheVotes() external {
        token.approve(address(vote), SUPPLY);
        vote.depositFor(address(this), SUPPLY);
        vote.delegate(address(this));
        skip(1);
        eq(gov.quorum(vm.getBlockTimestamp() - 1), SUPPLY * 4 / 100, "4% is the floor's size");
        eq(IMagGovernor(address(gov)).quorumFloor(), FLOOR, "floor");
        IGovernor another = IGovernor(
            payable(create("MagGovernor", abi.encode(vote, lock, DELAY, PERIOD, 0, 10, FLOOR)))
        );
        skip(1);
        eq(another.quorum(vm.getBlockTimestamp() - 1), SUPPLY / 10, "a tenth");
    }

    function testVotesBoughtAfterTheProposalDoNotCount() external {
        wrap(ann, 50_000 * MAG);
        uint256 id = propose(ann, better());
        wrap(address(0xB0B), 500_000 * MAG);
        castAs(address(0xB0B), id, 0);
        castAs(ann, id, 1);
        skip(PERIOD);
        stateIs(id, IGovernor.ProposalState.Succeeded);
    }

    function testAProposerNeedsVotes() external {
        wrap(ann, 1_000 * MAG - 1);
        (address[] memory to, uint256[] memory value, bytes[] memory data) = proposal(better());
        expectError(IGovernor.GovernorInsufficientProposerVotes.selector);
        vm.prank(ann);
        gov.propose(to, value, data, "tiers");
        eq(gov.proposalThreshold(), 1_000 * MAG, "threshold");
        eq(gov.votingDelay(), DELAY, "delay");
        eq(gov.votingPeriod(), PERIOD, "period");
    }

    function testAProposerTakesItBack() external {
        wrap(ann, 50_000 * MAG);
        Values memory next = better();
        (address[] memory to, uint256[] memory value, bytes[] memory data) = proposal(next);
        vm.prank(ann);
        uint256 id = gov.propose(to, value, data, "tiers");
        vm.prank(ann);
        gov.cancel(to, value, data, keccak256("tiers"));
        stateIs(id, IGovernor.ProposalState.Canceled);
    }

    function testNobodyGoesAroundTheTimelock() external {
        Values memory next = better();
        expect(IParams.NotOwner.selector, address(gov));
        vm.prank(address(gov));
        params.schedule(next);
        vm.expectRevert();
        lock.schedule(address(params), 0, "", 0, 0, WAIT);
    }

    function testUnwrapsOneToOne() external {
        wrap(ann, 5 * MAG);
        eq(vote.getVotes(ann), 5 * MAG, "votes");
        eq(vote.decimals(), 18, "decimals");
        eq(vote.nonces(ann), 0, "nonce");
        eq(vote.clock(), vm.getBlockTimestamp(), "clock");
        eq(keccak256(bytes(vote.CLOCK_MODE())), keccak256("mode=timestamp"), "clock mode");
        vm.prank(ann);
        vote.withdrawTo(ann, 5 * MAG);
        eq(token.balanceOf(ann), 5 * MAG, "back");
        eq(vote.getVotes(ann), 0, "no votes");
        eq(IVotes(address(vote)).getPastVotes(ann, vm.getBlockTimestamp() - 1), 5 * MAG, "past");
    }
}
