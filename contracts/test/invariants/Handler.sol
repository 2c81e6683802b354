// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DisputeMoves} from "./DisputeMoves.sol";
import {EpochMoves} from "./EpochMoves.sol";
import {NodeMoves} from "./NodeMoves.sol";

/// Everything that can be done to the ledger, with its contracts for those who watch.
contract Handler is NodeMoves, EpochMoves, DisputeMoves {
    constructor() {
        found();
    }

    /// Token, params, nodes, epochs, disputes, data registry, revenue, timelock.
    function ledger() external view returns (address[8] memory list) {
        list[0] = address(token);
        list[1] = address(params);
        list[2] = address(nodes);
        list[3] = address(epochs);
        list[4] = address(disputes);
        list[5] = address(registry);
        list[6] = address(revenue);
        list[7] = timelock;
    }

    function supply() external pure returns (uint256) {
        return SUPPLY;
    }

    function caps() external pure returns (uint256, uint256) {
        return (DAY_CAP, YEAR_CAP);
    }

    function mintedCount() external view returns (uint256) {
        return minted.length;
    }

    function finalCount() external view returns (uint256) {
        return finalRoots.length;
    }

    function epochsSeenCount() external view returns (uint256) {
        return epochsSeen.length;
    }
}
