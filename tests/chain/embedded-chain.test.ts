/** The embedded chain through viem: deploy, call, logs, reverts, restart. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { privateKeyToAccount } from "viem/accounts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { serveChain } from "../../src/chain/embedded/server.ts";
import { verifyChain } from "../../src/chain/embedded/verify.ts";
import { clientsFor, KEYS, richAlloc } from "./chain-clients.ts";
import { compiled } from "./compiled.ts";

const SOURCE = `pragma solidity 0.8.37;
contract Box {
  uint256 public held;
  mapping(uint256 => uint256) slots;
  event Held(address indexed who, uint256 value);
  error TooLarge(uint256 value);
  function hold(uint256 value) external {
    if (value > 100) revert TooLarge(value);
    require(value != 14, "not 14");
    for (uint256 i = 0; i < value; i++) slots[i] = value;
    held = value;
    emit Held(msg.sender, value);
  }
  function clear(uint256 count) external { for (uint256 i = 0; i < count; i++) slots[i] = 0; }
}`;
const box = compiled(SOURCE, "Box");
const account = privateKeyToAccount(KEYS[0]!);
const folders: string[] = [];
const newFolder = () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-chain-"));
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

async function withChain(
  folder: string | undefined,
  use: (parts: { chain: EmbeddedChain } & ReturnType<typeof clientsFor>) => Promise<void>,
) {
  const chain = await EmbeddedChain.open({ folder, alloc: richAlloc(), fees: "eip1559" });
  const server = serveChain(chain);
  try {
    await use({ chain, ...clientsFor(server.url, chain.chain_id) });
  } finally {
    await server.stop();
    await chain.close();
  }
}

describe("the embedded chain through viem", () => {
  test("deploys, calls, reads logs, reverts with a reason, and is the same after a restart", async () => {
    const folder = newFolder();
    let address: `0x${string}` | null | undefined;
    await withChain(folder, async ({ wallet, client }) => {
      const created = await wallet.deployContract({ ...box, account });
      ({ contractAddress: address } = await client.getTransactionReceipt({ hash: created }));
      const target = { abi: box.abi, address: address!, account } as const;
      const held = await wallet.writeContract({ ...target, functionName: "hold", args: [5n] });
      const receipt = await client.getTransactionReceipt({ hash: held });
      expect(receipt.status).toBe("success");
      expect(receipt.logs).toHaveLength(1);
      const logs = await client.getContractEvents({ ...target, eventName: "Held", fromBlock: 0n });
      expect(logs.map((log) => (log as { args?: unknown }).args)).toEqual([
        { who: account.address, value: 5n },
      ]);
      const simulate = (value: bigint) =>
        client.simulateContract({ ...target, functionName: "hold", args: [value] });
      await expect(simulate(101n)).rejects.toThrow("TooLarge(uint256 value)");
      await expect(simulate(14n)).rejects.toThrow("not 14");
    });
    await withChain(folder, async ({ chain, client }) => {
      const target = { abi: box.abi, address: address!, functionName: "held" } as const;
      expect(await client.readContract(target)).toBe(5n);
      const { difference, transactions } = await verifyChain(chain);
      expect(difference).toBeUndefined();
      expect(transactions).toBe(2);
    });
  });

  test("an estimate is the least gas that is enough, refunds counted", async () => {
    await withChain(undefined, async ({ wallet, client }) => {
      const created = await wallet.deployContract({ ...box, account });
      const { contractAddress } = await client.getTransactionReceipt({ hash: created });
      const target = { abi: box.abi, address: contractAddress!, account } as const;
      await wallet.writeContract({ ...target, functionName: "hold", args: [9n] });
      const clear = { ...target, functionName: "clear", args: [9n] } as const;
      const gas = await client.estimateContractGas(clear);
      const short = await wallet.writeContract({ ...clear, gas: gas - 1n });
      expect((await client.getTransactionReceipt({ hash: short })).status).toBe("reverted");
      const enough = await wallet.writeContract({ ...clear, gas });
      const receipt = await client.getTransactionReceipt({ hash: enough });
      expect(receipt.status).toBe("success");
      expect(receipt.gasUsed).toBeLessThan(gas); // the refund comes only at the end
    });
  });
});
