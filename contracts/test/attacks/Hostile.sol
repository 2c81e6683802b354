// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A token that calls back whoever it pays, before and after, as ERC-777 did: the worst token that a
/// deployment could name. What the ledger has not written down by then can be taken twice.
contract HostileToken is ERC20("Hostile", "BAD") {
    constructor(address holder, uint256 supply) {
        _mint(holder, supply);
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (to.code.length > 0) try Thief(to).paid() {} catch {}
        if (from.code.length > 0) try Thief(from).paid() {} catch {}
    }
}

/// Calls again what just paid it, as often as it can.
contract Thief {
    address private _target;
    bytes private _again;
    uint256 public entries;
    uint256 public successes;

    function aim(address target, bytes calldata again) external {
        _target = target;
        _again = again;
    }

    function run(address target, bytes calldata data) external {
        (bool ok, bytes memory result) = target.call(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(result, 32), mload(result))
            }
        }
    }

    function paid() external {
        if (_target == address(0) || entries >= 5) return;
        ++entries;
        (bool ok,) = _target.call(_again);
        if (ok) ++successes;
    }
}
