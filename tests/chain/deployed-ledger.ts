/** A ledger on a chain for tests: the deployer is anvil's first account, everybody listed is funded. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MAG } from "../../src/chain/amounts.ts";
import { addressOf } from "../../src/chain/client/account.ts";
import { deployLedger } from "../../src/chain/client/deploy-ledger.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import { openRpc } from "../../src/chain/client/rpc.ts";
import { DEFAULT_GOVERNANCE, defaultValues, type Values } from "../../src/chain/default-values.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { PublicKey } from "../../src/core/types.ts";
import { identityOf } from "../../src/network/identity.ts";
import { KEYS } from "./chain-clients.ts";

/** The deployer: rich on `richAlloc()` and on anvil. */
export const deployer = identityOf(new Uint8Array(Buffer.from(KEYS[0]!.slice(2), "hex")));

export interface TestLedger {
  url: string;
  members: readonly PublicKey[];
  epoch_seconds?: number;
  values?: Partial<Values>;
}

/** Deploys and gives every member 10,000 MAG and one coin. */
export async function deployForTest(options: TestLedger): Promise<Deployment> {
  const { url, members, epoch_seconds = 20 } = options;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-ledger-"));
  try {
    const { deployment } = await deployLedger({
      rpc: openRpc({ url, clock: systemClock }),
      signer: deployer,
      clock: systemClock,
      folder,
      epoch_seconds,
      block_randomness: false,
      values: { ...defaultValues(epoch_seconds), ...options.values },
      governance: DEFAULT_GOVERNANCE,
      genesis_supply: 10_000_000n * MAG,
      grants: members.map((key) => ({ to: addressOf(key), mag: 10_000n * MAG, coin: MAG })),
      poll_ms: 1,
    });
    return deployment;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
