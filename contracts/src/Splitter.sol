// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Activity, Split} from "./interfaces/ILedgerTypes.sol";
import {IMagToken} from "./interfaces/IMagToken.sol";
import {IParams} from "./interfaces/IParams.sol";

/// Splits a payment that the contract holds: provider, treasury, flames.
abstract contract Splitter {
    using SafeERC20 for IERC20;

    uint256 private constant BPS = 10_000;

    IMagToken public immutable token;
    IParams public immutable params;

    constructor(IMagToken token_, IParams params_) {
        token = token_;
        params = params_;
    }

    /// The three parts sum to `amount`; what rounding leaves is burned.
    function _parts(uint256 amount, uint64 epoch, Activity activity)
        internal
        view
        returns (uint256 provider, uint256 treasury, uint256 burned)
    {
        Split memory split = params.splitAt(epoch, activity);
        provider = (amount * split.provider) / BPS;
        treasury = (amount * split.treasury) / BPS;
        burned = amount - provider - treasury;
    }

    function _pay(address provider, uint256 toProvider, uint256 toTreasury, uint256 burned)
        internal
    {
        if (burned != 0) token.burn(burned);
        if (toTreasury != 0) {
            IERC20(address(token)).safeTransfer(params.treasury(), toTreasury);
        }
        if (toProvider != 0) IERC20(address(token)).safeTransfer(provider, toProvider);
    }
}
