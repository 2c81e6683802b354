// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Split, Values} from "./interfaces/ILedgerTypes.sol";
import {IParams} from "./interfaces/IParams.sol";

/// What governance may choose. Every field of `Values` has a bound here, so that a captured vote can
/// neither stop challenges, nor shrink a window to nothing, nor mint without limit.
library Bounds {
    uint96 internal constant UNIT = 1e18;
    /// Most that `annualCap` may be.
    uint96 internal constant MAX_ANNUAL = 1_000_000_000 * UNIT;
    /// Bonds, stakes and fees stay payable and above dust.
    uint96 internal constant LEAST_BOND = UNIT / 100;
    uint96 internal constant MOST_BOND = 1_000_000 * UNIT;
    /// No window is shorter than this share of an epoch (and never shorter than a second) ...
    uint32 internal constant WINDOW_SHARE = 20;
    /// ... nor longer than this.
    uint32 internal constant MAX_WINDOW = 30 days;
    uint32 internal constant MAX_UNBONDING = 365 days;
    uint16 internal constant BPS = 10_000;
    uint16 internal constant LEAST_SLASH = 1_000;
    uint16 internal constant MAX_TIER_REWARD = 10_000;
    /// The provider's part of a payment is never less, the treasury's and the burned one never more.
    uint16 internal constant LEAST_PROVIDER = 2_500;
    uint16 internal constant MOST_OTHER = 5_000;
    uint8 internal constant MAX_PANEL = 31;

    /// Reverts with the first field that is out of bounds. `epochSeconds` is the fixed length of an
    /// epoch.
    function check(Values memory v, uint32 epochSeconds) internal pure {
        _checkEmission(v);
        _checkWindows(v, epochSeconds);
        _in("unbondingSeconds", v.unbondingSeconds, exposure(v, epochSeconds), MAX_UNBONDING);
        _checkBonds(v);
        _checkShares(v);
    }

    /// For so long after it is done, whatever is done under these values can be found out and judged.
    function exposure(Values memory v, uint32 epochSeconds) internal pure returns (uint256) {
        uint256 votes = uint256(v.voteCommitSeconds) + v.voteRevealSeconds;
        uint256 work = uint256(v.commitSeconds) + v.revealSeconds + v.challengeSeconds + votes
            + epochSeconds;
        uint256 data = uint256(v.dataChallengeSeconds) + votes;
        return work > data ? work : data;
    }

    function _checkEmission(Values memory v) private pure {
        _in("annualCap", v.annualCap, 0, MAX_ANNUAL);
        _in("dailyCap", v.dailyCap, 0, v.annualCap);
        _in("epochPool", v.epochPool, 0, v.dailyCap);
    }

    function _checkWindows(Values memory v, uint32 epochSeconds) private pure {
        uint256 least = epochSeconds / WINDOW_SHARE;
        if (least == 0) least = 1;
        _in("commitSeconds", v.commitSeconds, least, MAX_WINDOW);
        _in("revealSeconds", v.revealSeconds, least, MAX_WINDOW);
        _in("proposerSeconds", v.proposerSeconds, least, MAX_WINDOW);
        _in("challengeSeconds", v.challengeSeconds, least, MAX_WINDOW);
        _in("voteCommitSeconds", v.voteCommitSeconds, least, MAX_WINDOW);
        _in("voteRevealSeconds", v.voteRevealSeconds, least, MAX_WINDOW);
        _in("dataChallengeSeconds", v.dataChallengeSeconds, least, MAX_WINDOW);
        // An epoch is settled only when the one before is final: were proposing and challenging longer
        // than an epoch, the settlements would fall behind for ever.
        uint256 turn = uint256(v.proposerSeconds) + v.challengeSeconds;
        if (turn > epochSeconds) revert IParams.OutOfBounds("challengeSeconds");
        uint256 whole = uint256(v.commitSeconds) + v.revealSeconds + turn;
        _in("settleSeconds", v.settleSeconds, whole, 2 * uint256(MAX_WINDOW));
    }

    function _checkBonds(Values memory v) private pure {
        for (uint256 i = 0; i < v.tierBonds.length; ++i) {
            _in("tierBonds", v.tierBonds[i], LEAST_BOND, MOST_BOND);
        }
        _in("notaryBond", v.notaryBond, LEAST_BOND, MOST_BOND);
        _in("challengerBond", v.challengerBond, LEAST_BOND, MOST_BOND);
        _in("dataFee", v.dataFee, 0, MOST_BOND);
    }

    function _checkShares(Values memory v) private pure {
        for (uint256 i = 0; i < v.tierRewards.length; ++i) {
            _in("tierRewards", v.tierRewards[i], 1, MAX_TIER_REWARD);
        }
        for (uint256 i = 0; i < v.slashBps.length; ++i) {
            _in("slashBps", v.slashBps[i], LEAST_SLASH, BPS);
        }
        uint256 weights = 0;
        for (uint256 i = 0; i < v.axisWeights.length; ++i) {
            weights += v.axisWeights[i];
        }
        _in("axisWeights", weights, BPS, BPS);
        for (uint256 i = 0; i < v.splits.length; ++i) {
            Split memory split = v.splits[i];
            _in("splits", split.provider, LEAST_PROVIDER, BPS);
            _in("splits", split.treasury, 0, MOST_OTHER);
            _in("splits", split.burned, 0, MOST_OTHER);
            _in("splits", uint256(split.provider) + split.treasury + split.burned, BPS, BPS);
        }
        _in("panelSize", v.panelSize, 1, MAX_PANEL);
        // 3f + 1.
        if (v.panelSize % 3 != 1) revert IParams.OutOfBounds("panelSize");
    }

    function _in(bytes32 field, uint256 value, uint256 least, uint256 most) private pure {
        if (value < least || value > most) revert IParams.OutOfBounds(field);
    }
}
