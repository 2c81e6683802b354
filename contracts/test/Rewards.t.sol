// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "./Ledger.sol";
import {Tree} from "./Tree.sol";

/// Rewards as another program computed them (tools/reward-vectors.ts), computed here once more, settled
/// and claimed to the unit.
contract RewardTest is Ledger {
    string internal json;
    address[] internal accounts;
    uint256 internal pool;

    function setUp() external {
        deployLedger(defaultValues());
        populate(5, 5);
        json = vm.readFile("contracts/test/vectors/rewards.json");
        accounts = vm.parseJsonAddressArray(json, ".addresses");
        pool = vm.parseJsonUint(json, ".pool");
    }

    function ofEpoch(uint256 epoch, string memory key) internal view returns (uint256[] memory) {
        return vm.parseJsonUintArray(json, string.concat(".epochs[", vm.toString(epoch), "].", key));
    }

    /// Eq. 5: R_i = pool T_i C_i / sum, floors, then a unit each by largest remainder, ties by address.
    function share(uint256 whole, uint256[] memory weights) internal pure returns (uint256[] memory parts) {
        uint256 n = weights.length;
        uint256 sum;
        for (uint256 i; i < n; ++i) sum += weights[i];
        parts = new uint256[](n);
        uint256[] memory rests = new uint256[](n);
        uint256 left = whole;
        for (uint256 i; i < n; ++i) {
            parts[i] = whole * weights[i] / sum;
            rests[i] = (whole * weights[i]) % sum + 1;
            left -= parts[i];
        }
        for (; left > 0; --left) {
            // Accounts rise: the first of equals is the lower address.
            uint256 best;
            for (uint256 i = 1; i < n; ++i) if (rests[i] > rests[best]) best = i;
            parts[best] += 1;
            rests[best] = 0;
        }
    }

    /// Of the tree over those who have earned anything.
    function rootOf(uint256[] memory sums) internal view returns (bytes32) {
        uint256 count;
        for (uint256 i; i < sums.length; ++i) if (sums[i] > 0) ++count;
        address[] memory earners = new address[](count);
        uint256[] memory earned = new uint256[](count);
        count = 0;
        for (uint256 i; i < sums.length; ++i) {
            if (sums[i] == 0) continue;
            earners[count] = accounts[i];
            earned[count] = sums[i];
            ++count;
        }
        return Tree.build(earners, earned)[0];
    }

    function testVectorsAreEquation5() external view {
        uint256[] memory sums = new uint256[](accounts.length);
        for (uint256 epoch; epoch < 3; ++epoch) {
            uint256[] memory weights = ofEpoch(epoch, "tiers");
            uint256[] memory scores = ofEpoch(epoch, "scores");
            uint256[] memory given = ofEpoch(epoch, "rewards");
            for (uint256 i; i < weights.length; ++i) weights[i] *= scores[i];
            uint256[] memory parts = share(pool, weights);
            uint256 total;
            for (uint256 i; i < parts.length; ++i) {
                eq(given[i], parts[i], "reward");
                total += parts[i];
                sums[i] += parts[i];
            }
            eq(total, pool, "the whole pool");
            string memory path = string.concat(".epochs[", vm.toString(epoch), "].root");
            eq(rootOf(sums), vm.parseJsonBytes32(json, path), "root");
        }
    }

    /// Settled by the other program's roots, claimed by its proofs: everybody gets theirs, nothing stays.
    function testVectorsAreClaimable() external {
        for (uint64 epoch; epoch < 3; ++epoch) {
            string memory path = string.concat(".epochs[", vm.toString(epoch), "].root");
            settle(epoch, vm.parseJsonBytes32(json, path), accounts.length);
            toFinal(epoch);
        }
        uint256[] memory sums = ofEpoch(2, "cumulative");
        for (uint256 i; i < accounts.length; ++i) {
            if (sums[i] == 0) continue;
            string memory path = string.concat(".proofs[", vm.toString(i), "]");
            epochs.claim(accounts[i], sums[i], vm.parseJsonBytes32Array(json, path));
            eq(token.balanceOf(accounts[i]), sums[i], "paid");
        }
        eq(token.balanceOf(address(epochs)), 0, "nothing stays");
        eq(token.totalSupply(), SUPPLY + 3 * pool, "three pools minted");
    }

    /// Any weights: the parts sum to the pool, and are within one unit of the exact share.
    function testFuzzSharesSumToThePool(uint256 seed, uint8 size) external view {
        uint256[] memory weights = new uint256[](2 + size % 30);
        for (uint256 i; i < weights.length; ++i) weights[i] = uint256(keccak256(abi.encode(seed, i))) % 1e15;
        weights[0] += 1;
        uint256[] memory parts = share(pool, weights);
        uint256 total;
        for (uint256 i; i < parts.length; ++i) total += parts[i];
        eq(total, pool, "sum");
    }

    /// Sybil neutrality: k names for one weight gain at most k - 1 units, whatever the split.
    function testFuzzSybilsGainNothing(uint256 seed, uint8 names) external view {
        uint256 k = 2 + names % 6;
        uint256 mine = 1e6 + seed % 1e12;
        uint256[] memory honest = new uint256[](6);
        for (uint256 i; i < 5; ++i) honest[i] = 1 + uint256(keccak256(abi.encode(seed, i))) % 1e12;
        honest[5] = mine;
        uint256[] memory split = new uint256[](5 + k);
        uint256 rest = mine;
        for (uint256 i; i < 5; ++i) split[i] = honest[i];
        for (uint256 i; i < k; ++i) {
            uint256 part = i + 1 == k ? rest : rest * (uint256(keccak256(abi.encode(i, seed))) % 1_000) / 1_000;
            split[5 + i] = part;
            rest -= part;
        }
        uint256 one = share(pool, honest)[5];
        uint256[] memory parts = share(pool, split);
        uint256 many;
        for (uint256 i; i < k; ++i) many += parts[5 + i];
        le(many, one + k - 1, "gain of k names");
    }
}
