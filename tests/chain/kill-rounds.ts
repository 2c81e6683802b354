/**
 * A chain host that is killed with SIGKILL again and again while transactions stream in: whatever it
 * acknowledged must be known after the restart, mined or waiting, and the log must replay to the
 * same roots. Some transactions come before those they follow, so that waiting ones are killed too.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { keccak256 } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import type { Hex } from "../../src/chain/embedded/hex.ts";
import { verifyChain } from "../../src/chain/embedded/verify.ts";
import { type Random, seededRandom } from "../../src/core/random.ts";
import { KEYS } from "./chain-clients.ts";
import { startHost } from "./host-process.ts";

const ACCOUNTS = KEYS.map((key) => privateKeyToAccount(key));
const CHAIN_ID = 31_337;

async function rpc(url: string, method: string, params: unknown[]): Promise<unknown> {
  const response = await fetch(url, {
    method: "POST",
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  const { result, error } = (await response.json()) as {
    result: unknown;
    error?: { message: string };
  };
  if (error) throw new Error(error.message);
  return result;
}

export interface KillReport {
  kills: number;
  acknowledged: number;
  /** Acknowledged ones that were waiting, not mined, when the host came back. */
  waiting: number;
  blocks: number;
}

/** Streams until the host dies; acknowledged hashes go into `known` the moment they arrive. */
async function stream(
  url: string,
  random: Random,
  known: Set<Hex>,
  onAnswer: () => void,
): Promise<void> {
  const sender = async (account: (typeof ACCOUNTS)[number]) => {
    let nonce = Number(await rpc(url, "eth_getTransactionCount", [account.address, "pending"]));
    for (;;) {
      // Two at a time, sometimes the later one first.
      const pair = random.below(4) === 0 ? [nonce + 1, nonce] : [nonce, nonce + 1];
      nonce += 2;
      for (const n of pair) {
        const raw = await account.signTransaction({
          ...{ chainId: CHAIN_ID, nonce: n, to: ACCOUNTS[0]!.address, value: 1n, gas: 21_000n },
          ...{ maxFeePerGas: 0n, maxPriorityFeePerGas: 0n },
        });
        try {
          await rpc(url, "eth_sendRawTransaction", [raw]);
        } catch (error) {
          // It was kept, and waited through the kill: only the answer was lost, or not even that.
          if ((error as Error).message !== "already known") throw error;
        }
        known.add(keccak256(raw));
        onAnswer();
      }
    }
  };
  const ends = await Promise.allSettled(ACCOUNTS.slice(0, 4).map(sender));
  for (const end of ends) {
    const reason = end.status === "rejected" ? (end.reason as Error) : undefined;
    // A refusal is a failure of the test; a broken connection is the kill.
    if (reason !== undefined && /nonce|already known|funds|internal/.test(reason.message))
      throw reason;
  }
}

/** Throws where an acknowledged transaction is lost, naming the seed. */
export async function killRounds(options: {
  kills: number;
  seed: number;
  onKill?: (done: number) => void;
}): Promise<KillReport> {
  const { kills, seed } = options;
  const random = seededRandom(seed);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-kill-"));
  const alloc = ACCOUNTS.flatMap(({ address }) => ["--alloc", `${address}=1000000000`]);
  const known = new Set<Hex>();
  const report: KillReport = { ...{ kills: 0, acknowledged: 0, waiting: 0, blocks: 0 } };
  try {
    let host = await startHost(folder, alloc);
    while (report.kills < kills) {
      const before = known.size;
      const wanted = before + 1 + random.below(40);
      const enough = Promise.withResolvers<void>();
      const streaming = stream(
        host.url,
        random,
        known,
        () => known.size >= wanted && enough.resolve(),
      );
      await Promise.race([streaming, enough.promise]);
      // A random moment more: the kill falls anywhere between a request's arrival and its answer.
      await new Promise((resolve) => setTimeout(resolve, random.next() * 20));
      await host.kill("SIGKILL");
      await streaming;
      report.kills++;
      host = await startHost(folder);
      for (const hash of [...known].slice(Math.max(0, before - 50))) {
        const found = (await rpc(host.url, "eth_getTransactionByHash", [hash])) as {
          blockNumber: Hex | null;
        } | null;
        if (found === null) throw new Error(`seed ${seed}, kill ${report.kills}: ${hash} is lost`);
        if (found.blockNumber === null) report.waiting++;
      }
      options.onKill?.(report.kills);
    }
    await host.kill("SIGTERM");
    const chain = await EmbeddedChain.open({ folder: path.join(folder, "chain"), read_only: true });
    const { difference, blocks } = await verifyChain(chain);
    for (const hash of known)
      if (chain.store.find(hash) === undefined && !chain.store.waits(hash))
        throw new Error(`seed ${seed}: ${hash} is lost at the end`);
    await chain.close();
    if (difference !== undefined)
      throw new Error(`seed ${seed}: block ${difference.number} differs in ${difference.field}`);
    return { ...report, acknowledged: known.size, blocks };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
