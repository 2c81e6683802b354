/**
 * The wallet key as an account of the chain: every signature equals that of viem's own account over
 * the same key (its own test vectors stand behind it), and nothing of the key is reachable.
 */
import { expect, test } from "bun:test";
import { inspect } from "node:util";
import fc from "fast-check";
import { type Hex, parseTransaction, recoverTransactionAddress, toHex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { addressOf, ledgerAccount, publicKeyPoint } from "../../src/chain/client/account.ts";
import { identityOf } from "../../src/network/identity.ts";

// The first account of anvil and Hardhat ("test test ... junk"), m/44'/60'/0'/0/0.
const KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const identity = identityOf(new Uint8Array(Buffer.from(KEY, "hex")));
const ours = ledgerAccount(identity);
const theirs = privateKeyToAccount(`0x${KEY}`);

const TYPED = {
  domain: {
    name: "Magnet Epochs",
    version: "1",
    chainId: 31337,
    verifyingContract: theirs.address,
  },
  types: {
    Commit: [
      { name: "epoch", type: "uint64" },
      { name: "commitment", type: "bytes32" },
    ],
  },
  primaryType: "Commit",
  message: { epoch: 7n, commitment: toHex(9, { size: 32 }) },
} as const;

test("address and key are those of the account", () => {
  expect(ours.address).toBe("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
  expect(addressOf(identity.public_key)).toBe(theirs.address);
  const { x, y } = publicKeyPoint(identity.public_key);
  expect(`0x04${x.slice(2)}${y.slice(2)}` as Hex).toBe(theirs.publicKey);
  expect(ours.publicKey).toBe(theirs.publicKey);
});

test("transactions of each type, with and without data", async () => {
  const common = { chainId: 31337, nonce: 3, gas: 21_000n, to: theirs.address, value: 5n };
  const fees = { maxFeePerGas: 9n, maxPriorityFeePerGas: 2n };
  for (const transaction of [
    { ...common, ...fees, type: "eip1559" },
    { ...common, ...fees, type: "eip1559", data: "0x1234" },
    { ...common, type: "legacy", gasPrice: 7n },
    { ...common, type: "eip2930", gasPrice: 7n, accessList: [] },
  ] as const) {
    const raw = await ours.signTransaction(transaction);
    expect(raw).toBe(await theirs.signTransaction(transaction));
    expect(await recoverTransactionAddress({ serializedTransaction: raw as never })).toBe(
      theirs.address,
    );
    expect(parseTransaction(raw).nonce).toBe(3);
  }
});

test("messages and typed data", async () => {
  expect(await ours.signMessage({ message: "magnet" })).toBe(
    await theirs.signMessage({ message: "magnet" }),
  );
  expect(await ours.signTypedData(TYPED)).toBe(await theirs.signTypedData(TYPED));
});

test("any key gives the same address and signatures as viem's account", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 32, maxLength: 32 }).filter((k) => k[0]! < 255 && k.some(Boolean)),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      async (key, digest) => {
        const [a, b] = [ledgerAccount(identityOf(key)), privateKeyToAccount(toHex(key))];
        expect(a.address).toBe(b.address);
        expect(await a.sign!({ hash: toHex(digest) })).toBe(await b.sign({ hash: toHex(digest) }));
      },
    ),
    { numRuns: 20 },
  );
});

test("nothing that is printed or serialised holds the key", () => {
  const shown = inspect(ours, { depth: 10, showHidden: true }) + JSON.stringify(ours);
  expect(shown.toLowerCase()).not.toContain(KEY);
});
