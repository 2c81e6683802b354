// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// Where a server's customers pay. Each server has a clone at an address that is known before it
/// exists; only `Revenue`, which made it, empties it, so no income escapes the split.
contract Till {
    using SafeERC20 for IERC20;

    /// Caller is not Revenue.
    error NotRevenue(address caller);

    address public immutable revenue;
    IERC20 public immutable token;

    constructor(IERC20 token_) {
        revenue = msg.sender;
        token = token_;
    }

    /// Moves all that lies in it to Revenue.
    function empty() external returns (uint256 amount) {
        if (msg.sender != revenue) revert NotRevenue(msg.sender);
        amount = token.balanceOf(address(this));
        if (amount != 0) token.safeTransfer(revenue, amount);
    }
}
