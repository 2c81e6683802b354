// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A token as the ledger's never is: it calls the contract that moves it back, or says no, or nothing.
contract HostileToken is ERC20 {
    enum Mood { Meek, CallBack, SayNo }

    Mood public mood;
    address private _target;
    bytes private _data;
    /// How the call back ended.
    bool public tried;
    bytes public answer;
    bool public succeeded;

    constructor(uint256 supply) ERC20("Hostile", "HOS") {
        _mint(msg.sender, supply);
    }

    /// With the next movement calls `target` back, once.
    function plot(address target, bytes calldata data) external {
        (mood, _target, _data, tried) = (Mood.CallBack, target, data, false);
    }

    function sayNo() external {
        mood = Mood.SayNo;
    }

    function burn(uint256 amount) external {
        _act();
        _burn(msg.sender, amount);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        _act();
        if (mood == Mood.SayNo) return false;
        return super.transfer(to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) public override returns (bool) {
        _act();
        if (mood == Mood.SayNo) return false;
        return super.transferFrom(from, to, amount);
    }

    function _act() private {
        if (mood != Mood.CallBack || tried) return;
        tried = true;
        (succeeded, answer) = _target.call(_data);
    }
}
