// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMagToken} from "../../src/interfaces/IMagToken.sol";
import {Vm} from "../Vm.sol";
import {Parts} from "./Parts.sol";

/// A contract wallet that accepts one digest, whatever the signature.
contract Wallet1271 {
    bytes32 private immutable _accepted;

    constructor(bytes32 accepted) {
        _accepted = accepted;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == _accepted ? this.isValidSignature.selector : bytes4(0);
    }
}

contract MagTokenTest is Parts {
    uint256 private constant ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    // The type hashes as EIP-3009 prints them.
    bytes32 private constant TRANSFER =
        0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267;
    bytes32 private constant RECEIVE =
        0xd099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8;
    bytes32 private constant CANCEL =
        0x158b0a9edf7a828aad02f63cd515c68ef2f50ba807396f6d12842833a1597429;

    struct Payment {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    Vm.Wallet private payer;
    address private shop = address(0x5409);

    function setUp() external {
        deployParts();
        payer = actor("payer");
        token.transfer(payer.addr, 100 * MAG);
    }

    function payment(bytes32 nonce) private view returns (Payment memory) {
        uint256 now_ = vm.getBlockTimestamp();
        return Payment(payer.addr, shop, 3 * MAG, now_ - 1, now_ + 60, nonce);
    }

    function domain() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Magnet"),
                keccak256("1"),
                block.chainid,
                address(token)
            )
        );
    }

    function digestOf(bytes32 typehash, Payment memory p) private view returns (bytes32) {
        bytes32 inner = keccak256(
            abi.encode(typehash, p.from, p.to, p.value, p.validAfter, p.validBefore, p.nonce)
        );
        return keccak256(abi.encodePacked("\x19\x01", domain(), inner));
    }

    function cancelDigest(bytes32 nonce) private view returns (bytes32) {
        bytes32 inner = keccak256(abi.encode(CANCEL, payer.addr, nonce));
        return keccak256(abi.encodePacked("\x19\x01", domain(), inner));
    }

    /// kind: 0 transfer, 1 receive; each by (v, r, s) or by bytes.
    function submit(uint256 kind, bool split, Payment memory p, uint8 v, bytes32 r, bytes32 s) private {
        bytes memory packed = abi.encodePacked(r, s, v);
        if (kind == 0 && split) {
            token.transferWithAuthorization(
                p.from, p.to, p.value, p.validAfter, p.validBefore, p.nonce, v, r, s
            );
        } else if (kind == 0) {
            token.transferWithAuthorization(
                p.from, p.to, p.value, p.validAfter, p.validBefore, p.nonce, packed
            );
        } else if (split) {
            token.receiveWithAuthorization(
                p.from, p.to, p.value, p.validAfter, p.validBefore, p.nonce, v, r, s
            );
        } else {
            token.receiveWithAuthorization(
                p.from, p.to, p.value, p.validAfter, p.validBefore, p.nonce, packed
            );
        }
    }

    function sign(uint256 kind, Payment memory p) private view returns (uint8, bytes32, bytes32) {
        return vm.sign(payer.privateKey, digestOf(kind == 0 ? TRANSFER : RECEIVE, p));
    }

    function testSaysWhoItIs() external view {
        eq(keccak256(bytes(IName(address(token)).name())), keccak256("Magnet"), "name");
        eq(keccak256(bytes(IName(address(token)).symbol())), keccak256("MAG"), "symbol");
        eq(IName(address(token)).decimals(), 18, "decimals");
        eq(token.DOMAIN_SEPARATOR(), domain(), "domain");
        eq(token.minter(), address(this), "minter");
        eq(token.totalSupply(), SUPPLY, "supply");
    }

    function testNothingAtGenesisIfSoChosen() external {
        address bare = create("MagToken", abi.encode(address(this), address(0), 0));
        eq(IMagToken(bare).minter(), address(this), "minter");
        eq(IName(bare).totalSupply(), 0, "supply");
    }

    function testOnlyTheMinterMints() external {
        token.mint(shop, 5);
        eq(token.balanceOf(shop), 5, "minted");
        expect(IMagToken.NotMinter.selector, shop);
        vm.prank(shop);
        token.mint(shop, 1);
    }

    function testBurns() external {
        token.burn(7 * MAG);
        eq(token.totalSupply(), SUPPLY - 7 * MAG, "supply");
        vm.prank(shop);
        vm.expectRevert();
        token.burn(1);
    }

    function testPermit() external {
        uint256 deadline = vm.getBlockTimestamp() + 1;
        bytes32 inner = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                payer.addr,
                shop,
                9,
                0,
                deadline
            )
        );
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", domain(), inner));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payer.privateKey, digest);
        token.permit(payer.addr, shop, 9, deadline, v, r, s);
        eq(token.allowance(payer.addr, shop), 9, "allowance");
        vm.expectRevert();
        token.permit(payer.addr, shop, 9, deadline, v, r, s);
    }

    function testPaysOnceInEachForm() external {
        for (uint256 form = 0; form < 4; ++form) {
            Payment memory p = payment(bytes32(form));
            (uint8 v, bytes32 r, bytes32 s) = sign(form / 2, p);
            uint256 before = token.balanceOf(shop);
            vm.expectEmit(address(token));
            emit IMagToken.AuthorizationUsed(payer.addr, p.nonce);
            vm.prank(shop);
            submit(form / 2, form % 2 == 0, p, v, r, s);
            eq(token.balanceOf(shop) - before, p.value, "paid");
            check(token.authorizationState(payer.addr, p.nonce), "used");
            // The same again, in this form and in the other: the nonce is gone.
            for (uint256 twin = 0; twin < 2; ++twin) {
                vm.expectRevert(
                    abi.encodeWithSelector(
                        IMagToken.AuthorizationUsedOrCanceled.selector, payer.addr, p.nonce
                    )
                );
                vm.prank(shop);
                submit(form / 2, twin == 0, p, v, r, s);
            }
        }
        eq(token.balanceOf(payer.addr), 88 * MAG, "payer");
    }

    function testRefusesTheMalleableTwin() external {
        for (uint256 form = 0; form < 4; ++form) {
            Payment memory p = payment(bytes32(form));
            (uint8 v, bytes32 r, bytes32 s) = sign(form / 2, p);
            uint8 otherV = v == 27 ? 28 : 27;
            bytes32 otherS = bytes32(ORDER - uint256(s));
            expect(IMagToken.InvalidSignature.selector, payer.addr);
            vm.prank(shop);
            submit(form / 2, form % 2 == 0, p, otherV, r, otherS);
        }
    }

    function testRefusesWhatIsNotThePayers() external {
        for (uint256 form = 0; form < 4; ++form) {
            Payment memory p = payment(bytes32(form));
            // Another's key, a changed value, another kind of authorization, and no signature at all.
            bytes32 digest = digestOf(form / 2 == 0 ? TRANSFER : RECEIVE, p);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(actor("thief").privateKey, digest);
            refused(form, p, v, r, s);
            (v, r, s) = sign(1 - form / 2, p);
            refused(form, p, v, r, s);
            refused(form, p, 0, 0, 0);
            (v, r, s) = sign(form / 2, p);
            p.value += 1;
            refused(form, p, v, r, s);
        }
    }

    function refused(uint256 form, Payment memory p, uint8 v, bytes32 r, bytes32 s) private {
        expect(IMagToken.InvalidSignature.selector, p.from);
        vm.prank(shop);
        submit(form / 2, form % 2 == 0, p, v, r, s);
    }

    function testNobodyIsNoPayer() external {
        // A failed recovery yields address zero, which must not count as its signature.
        Payment memory p = payment(0);
        p.from = address(0);
        refused(0, p, 0, 0, 0);
        refused(1, p, 0, 0, 0);
    }

    function testRefusesAnotherChain() external {
        Payment memory p = payment(0);
        (uint8 v, bytes32 r, bytes32 s) = sign(0, p);
        vm.chainId(block.chainid + 1);
        expect(IMagToken.InvalidSignature.selector, payer.addr);
        submit(0, true, p, v, r, s);
    }

    function testTimesAreExclusive() external {
        for (uint256 form = 0; form < 4; ++form) {
            Payment memory p = payment(bytes32(form));
            p.validAfter = vm.getBlockTimestamp();
            (uint8 v, bytes32 r, bytes32 s) = sign(form / 2, p);
            expect(IMagToken.AuthorizationNotYetValid.selector, p.validAfter);
            vm.prank(shop);
            submit(form / 2, form % 2 == 0, p, v, r, s);
            vm.warp(p.validBefore);
            expect(IMagToken.AuthorizationExpired.selector, p.validBefore);
            vm.prank(shop);
            submit(form / 2, form % 2 == 0, p, v, r, s);
            vm.warp(p.validBefore - 1);
            vm.prank(shop);
            submit(form / 2, form % 2 == 0, p, v, r, s);
        }
    }

    function testOnlyThePayeeReceives() external {
        for (uint256 form = 2; form < 4; ++form) {
            Payment memory p = payment(bytes32(form));
            (uint8 v, bytes32 r, bytes32 s) = sign(1, p);
            vm.expectRevert(
                abi.encodeWithSelector(IMagToken.CallerNotPayee.selector, address(this), shop)
            );
            submit(1, form % 2 == 0, p, v, r, s);
        }
    }

    function testAPaymentThatBouncesLeavesItsNonce() external {
        Payment memory p = payment(0);
        p.value = 101 * MAG;
        (uint8 v, bytes32 r, bytes32 s) = sign(0, p);
        vm.expectRevert();
        submit(0, true, p, v, r, s);
        check(!token.authorizationState(payer.addr, 0), "not used");
        token.transfer(payer.addr, MAG);
        submit(0, true, p, v, r, s);
    }

    function testCancels() external {
        for (uint256 split = 0; split < 2; ++split) {
            bytes32 nonce = bytes32(split);
            Payment memory p = payment(nonce);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(payer.privateKey, cancelDigest(nonce));
            expect(IMagToken.InvalidSignature.selector, payer.addr);
            cancel(split == 0, nonce, v, r, bytes32(ORDER - uint256(s)));
            vm.expectEmit(address(token));
            emit IMagToken.AuthorizationCanceled(payer.addr, nonce);
            cancel(split == 0, nonce, v, r, s);
            bytes memory gone = abi.encodeWithSelector(
                IMagToken.AuthorizationUsedOrCanceled.selector, payer.addr, nonce
            );
            vm.expectRevert(gone);
            cancel(split == 0, nonce, v, r, s);
            (v, r, s) = sign(0, p);
            vm.expectRevert(gone);
            submit(0, true, p, v, r, s);
        }
    }

    function cancel(bool split, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) private {
        if (split) token.cancelAuthorization(payer.addr, nonce, v, r, s);
        else token.cancelAuthorization(payer.addr, nonce, abi.encodePacked(r, s, v));
    }

    function testAContractWalletPays() external {
        uint256 now_ = vm.getBlockTimestamp();
        address wallet = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
        Payment memory p = Payment(wallet, shop, MAG, now_ - 1, now_ + 1, bytes32(uint256(5)));
        Wallet1271 made = new Wallet1271(digestOf(TRANSFER, p));
        eq(address(made), wallet, "predicted");
        token.transfer(wallet, 2 * MAG);
        // Its word counts in the form that carries any bytes, and there alone.
        refused(0, p, 27, 0, 0);
        submit(0, false, p, 27, 0, 0);
        eq(token.balanceOf(shop), MAG, "paid");
        p.nonce = bytes32(uint256(6));
        refused(1, p, 27, 0, 0);
    }

    function testFuzzPays(uint256 value, bytes32 nonce, bool split) external {
        value = bound(value, 0, 100 * MAG);
        Payment memory p = payment(nonce);
        p.value = value;
        (uint8 v, bytes32 r, bytes32 s) = sign(0, p);
        submit(0, split, p, v, r, s);
        eq(token.balanceOf(shop), value, "shop");
        eq(token.balanceOf(payer.addr), 100 * MAG - value, "payer");
        eq(token.totalSupply(), SUPPLY, "supply");
    }
}

interface IName {
    function name() external view returns (string memory);
    function symbol() external view returns (string memory);
    function decimals() external view returns (uint8);
    function totalSupply() external view returns (uint256);
}
