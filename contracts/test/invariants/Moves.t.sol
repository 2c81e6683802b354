// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "../Base.sol";
import {Handler} from "./Handler.sol";

/// Invariants over moves that never succeed would say nothing: each of them does, within some hundreds.
contract MovesTest is Base {
    Handler internal world;

    struct Move {
        string name;
        uint256 arguments;
    }

    Move[] internal moves;

    function setUp() external {
        world = new Handler();
        string[5] memory one = ["withdraw", "leaveSeat", "govern", "commit", "commitMany"];
        for (uint256 i; i < one.length; ++i) moves.push(Move(one[i], 1));
        one = ["commitRoot", "settleWell", "settleBadly", "claim", "sweep"];
        for (uint256 i; i < one.length; ++i) moves.push(Move(one[i], 1));
        one = ["accuseJob", "drawSome", "drawLate", "resolveSome", "punishAll"];
        for (uint256 i; i < one.length; ++i) moves.push(Move(one[i], 1));
        moves.push(Move("pass", 1));
        string[5] memory two = ["changeTier", "addBond", "unbond", "takeSeat", "reveal"];
        for (uint256 i; i < two.length; ++i) moves.push(Move(two[i], 2));
        two = ["claimFalsely", "accuse", "accuseData", "voteSome", "revealSome"];
        for (uint256 i; i < two.length; ++i) moves.push(Move(two[i], 2));
        two = ["punishNoReveal", "punishMismatch", "registerData", "confirmData", "workOnJob"];
        for (uint256 i; i < two.length; ++i) moves.push(Move(two[i], 2));
        moves.push(Move("judgeJob", 2));
        moves.push(Move("settleJob", 2));
        string[4] memory three = ["register", "createJob", "payTill", "stray"];
        for (uint256 i; i < three.length; ++i) moves.push(Move(three[i], 3));
    }

    function selectorOf(Move storage move) internal view returns (bytes4) {
        string[3] memory tails = ["(uint256)", "(uint256,uint256)", "(uint256,uint256,uint256)"];
        return bytes4(keccak256(bytes(string.concat(move.name, tails[move.arguments - 1]))));
    }

    function testEveryMoveHappens() external {
        for (uint256 i; i < 1_500; ++i) {
            Move storage move = moves[uint256(keccak256(abi.encode(i))) % moves.length];
            uint256 a = uint256(keccak256(abi.encode("a", i)));
            // Arguments beyond those that a move takes are ignored.
            bytes memory rest = abi.encode(a, keccak256(abi.encode("b", i)), keccak256(abi.encode("c", i)));
            (bool ok,) = address(world).call(bytes.concat(selectorOf(move), rest));
            ok;
        }
        string memory missing = "";
        for (uint256 i; i < moves.length; ++i) {
            if (world.done(bytes32(bytes(moves[i].name))) == 0) missing = string.concat(missing, " ", moves[i].name);
        }
        check(bytes(missing).length == 0, string.concat("never happened:", missing));
    }
}
