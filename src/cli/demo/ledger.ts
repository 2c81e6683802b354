/**
 * The demo's ledger: the embedded chain as another process of this executable, the contracts on it with
 * epochs of half a minute, and what the demo asks of both. The agents do the rest by themselves while
 * they train: commit, reveal, sign, settle, punish, claim.
 */
import fs from "node:fs";
import path from "node:path";
import { formatMag, MAG } from "../../chain/amounts.ts";
import { addressOf } from "../../chain/client/account.ts";
import { deployLedger } from "../../chain/client/deploy-ledger.ts";
import type { Deployment } from "../../chain/client/deployment.ts";
import { Ledger } from "../../chain/client/ledger.ts";
import { openRpc } from "../../chain/client/rpc.ts";
import { DEFAULT_GOVERNANCE, defaultValues } from "../../chain/default-values.ts";
import type { Address } from "../../chain/ledger/ledger-types.ts";
import { systemClock } from "../../core/clock.ts";
import { systemRandom } from "../../core/random.ts";
import type { PublicKey } from "../../core/types.ts";
import { openIdentity } from "../../network/key-storage.ts";
import { type ChainHost, startChain } from "./processes.ts";

/** Long enough that agents that train on all cores act in time, short enough for a demo. */
const EPOCH_SECONDS = 30;
const WINDOWS = {
  ...{ commitSeconds: 12, revealSeconds: 12, proposerSeconds: 8, challengeSeconds: 6 },
  settleSeconds: 300,
} as const;
/** What each agent is given, puts at stake, and binds as a notary; MAG. */
const GRANT = 1000n * MAG;
export const BOND = 100n * MAG;
export const SEAT = 100n * MAG;

/** `Epochs.CommitState`: committed and not opened. */
const COMMITTED = 1;
/** Time that a kill takes: it must come before the reveal. */
const KILL_MARGIN_S = 2;

const lower = (address: string) => address.toLowerCase() as Address;
export const accountOf = (public_key: PublicKey): Address => lower(addressOf(public_key));

/** A settlement that the chain upholds. */
export interface SettledEpoch {
  epoch: number;
  root: string;
  total: bigint;
}

export class DemoLedger {
  readonly #host: ChainHost;
  readonly ledger: Ledger;

  private constructor(host: ChainHost, ledger: Ledger) {
    this.#host = host;
    this.ledger = ledger;
  }

  get url(): string {
    return this.#host.url;
  }
  get deployment(): Deployment {
    return this.ledger.deployment;
  }

  /** Starts the chain and deploys the contracts from an operator's key of the demo's own. */
  static async start(
    folder: string,
    members: readonly PublicKey[],
    signal: AbortSignal,
  ): Promise<DemoLedger> {
    const host = await startChain(path.join(folder, "chain"));
    try {
      const operator = path.join(folder, "operator");
      fs.mkdirSync(operator, { recursive: true, mode: 0o700 });
      const { identity: signer } = openIdentity({ dir: operator }, systemRandom);
      const rpc = openRpc({ url: host.url, clock: systemClock });
      const grants = members.map((key) => ({ to: addressOf(key), mag: GRANT, coin: 0n }));
      const { deployment } = await deployLedger({
        ...{ rpc, signer, clock: systemClock, folder: operator, signal, poll_ms: 20 },
        ...{ epoch_seconds: EPOCH_SECONDS, block_randomness: false },
        values: { ...defaultValues(EPOCH_SECONDS), ...WINDOWS },
        governance: DEFAULT_GOVERNANCE,
        genesis_supply: 10n * GRANT,
        grants,
      });
      return new DemoLedger(host, new Ledger(rpc, deployment));
    } catch (error) {
      await host.stop();
      throw error;
    }
  }

  stop(): Promise<void> {
    return this.#host.stop();
  }

  /** How an agent takes part. */
  get flags(): string[] {
    const stake = ["--bond", formatMag(BOND), "--seat", formatMag(SEAT)];
    return ["--rpc", this.url, ...stake];
  }

  async #runningEpoch(): Promise<{ epoch: number; since_s: number }> {
    const { genesis, epoch_seconds } = this.deployment;
    const age_s = Math.max(0, (await this.ledger.time()) - genesis);
    return { epoch: Math.floor(age_s / epoch_seconds), since_s: age_s % epoch_seconds };
  }

  /** The epoch that this account has committed to and cannot have opened yet; undefined: none. */
  async committedEpoch(account: Address): Promise<number | undefined> {
    const { epoch, since_s } = await this.#runningEpoch();
    if (epoch === 0 || since_s > WINDOWS.commitSeconds - KILL_MARGIN_S) return undefined;
    const args = [BigInt(epoch - 1), account] as const;
    const state = await this.ledger.read("epochs", "commitState", args);
    return state === COMMITTED ? epoch - 1 : undefined;
  }

  /** Settlements that were not rejected, oldest first. */
  async settled(): Promise<SettledEpoch[]> {
    const range = { from: BigInt(this.deployment.block) };
    const logs = await this.ledger.events("epochs", "Settled", range);
    const rejected = new Set(
      (await this.ledger.events("epochs", "Rejected", range)).map(({ args }) => args.root),
    );
    return logs
      .filter(({ args }) => !rejected.has(args.root))
      .map(({ args: { epoch, root, total } }) => ({ epoch: Number(epoch), root, total }));
  }

  async account(address: Address) {
    const [claimed, node, balance] = await Promise.all([
      this.ledger.read("epochs", "claimed", [address]),
      this.ledger.read("nodes", "nodeOf", [address]),
      this.ledger.read("magToken", "balanceOf", [address]),
    ]);
    return { claimed, bond: node.bond, seat: node.notaryBond, balance };
  }

  /** Everything that was taken from bonds. */
  async slashed(): Promise<bigint> {
    const range = { from: BigInt(this.deployment.block) };
    const logs = await this.ledger.events("nodes", "Slashed", range);
    return logs.reduce((sum, { args }) => sum + args.amount, 0n);
  }
}
