// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochs} from "../../src/interfaces/IEpochs.sol";
import {IMagToken} from "../../src/interfaces/IMagToken.sol";
import {Ledger} from "../Ledger.sol";
import {Tree} from "../Tree.sol";

/// Attacks on signatures: the second form of one, and the second use of one.
contract SignatureAttacks is Ledger {
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    bytes32 internal constant TRANSFER = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    address internal constant SHOP = address(0x5409);

    function setUp() external {
        deployLedger(defaultValues());
        populate(6, 5);
    }

    function authorization(bytes32 nonce) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 inner = keccak256(
            abi.encode(TRANSFER, people[0].addr, SHOP, 3 * MAG, 0, type(uint256).max, nonce)
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), inner));
        return vm.sign(people[0].privateKey, digest);
    }

    function pay(bytes32 nonce, uint8 v, bytes32 r, bytes32 s) internal {
        token.transferWithAuthorization(people[0].addr, SHOP, 3 * MAG, 0, type(uint256).max, nonce, v, r, s);
    }

    /// Both halves of the curve give a signature; only the lower is one.
    function testAttackMalleablePayment() external {
        (uint8 v, bytes32 r, bytes32 s) = authorization("one");
        bytes32 high = bytes32(ORDER - uint256(s));
        uint8 other = v == 27 ? 28 : 27;
        expectError(IMagToken.InvalidSignature.selector);
        pay("one", other, r, high);
        expectError(IMagToken.InvalidSignature.selector);
        token.transferWithAuthorization(
            people[0].addr, SHOP, 3 * MAG, 0, type(uint256).max, "one", abi.encodePacked(r, high, other)
        );
        pay("one", v, r, s);
        eq(token.balanceOf(SHOP), 3 * MAG, "the true one pays");
    }

    /// A settlement's signatures: the high form is refused, and one notary counts once.
    function testAttackMalleableSettlement() external {
        toSettle(0);
        bytes32 root = Tree.leafOf(people[0].addr, 1_000 * MAG);
        uint256 total = epochs.poolOf(0);
        bytes32 digest = epochs.settlementDigest(0, root, total, 1, "d");
        eq(epochs.signaturesNeeded(), 2, "five notaries, f = 1");
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(people[0].privateKey, digest);
        bytes[] memory list = new bytes[](2);
        list[0] = signatureOf(people[0], digest);
        list[1] = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        address proposer = epochs.proposerOf(0);
        vm.prank(proposer);
        vm.expectRevert();
        epochs.settle(0, root, total, 1, "d", list);
        list[1] = list[0];
        vm.prank(proposer);
        expectError(IEpochs.SignersNotSorted.selector);
        epochs.settle(0, root, total, 1, "d", list);
        list[0] = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        list[1] = signatureOf(people[1], digest);
        vm.prank(proposer);
        vm.expectRevert();
        epochs.settle(0, root, total, 1, "d", list);
        // A stranger's signature is no notary's.
        list[0] = signatureOf(people[0], digest);
        list[1] = signatureOf(people[5], digest);
        vm.prank(proposer);
        expectError(IEpochs.SignatureNotOfNotary.selector);
        epochs.settle(0, root, total, 1, "d", list);
    }

    /// Five copies of one payment that arrive at once are paid once, in whichever form they come.
    function testAttackConcurrentPayments() external {
        (uint8 v, bytes32 r, bytes32 s) = authorization("once");
        pay("once", v, r, s);
        for (uint256 i; i < 4; ++i) {
            expectError(IMagToken.AuthorizationUsedOrCanceled.selector);
            pay("once", v, r, s);
        }
        expectError(IMagToken.AuthorizationUsedOrCanceled.selector);
        token.transferWithAuthorization(
            people[0].addr, SHOP, 3 * MAG, 0, type(uint256).max, "once", abi.encodePacked(r, s, v)
        );
        eq(token.balanceOf(SHOP), 3 * MAG, "paid once");
    }

    /// What was signed for one chain or one token moves nothing elsewhere.
    function testAttackPaymentReplayedElsewhere() external {
        (uint8 v, bytes32 r, bytes32 s) = authorization("home");
        uint256 chain = block.chainid;
        vm.chainId(chain + 1);
        expectError(IMagToken.InvalidSignature.selector);
        pay("home", v, r, s);
        vm.chainId(chain);
        bytes32 domain = token.DOMAIN_SEPARATOR();
        deployLedger(defaultValues());
        token.transfer(people[0].addr, 10 * MAG);
        check(token.DOMAIN_SEPARATOR() != domain, "another token");
        expectError(IMagToken.InvalidSignature.selector);
        pay("home", v, r, s);
    }
}
