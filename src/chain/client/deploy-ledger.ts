/**
 * Deploys the ledger through a queue of its own: interrupted anywhere, the next run goes on with the
 * same nonces and so the same addresses. Ends only when what lies on the chain was verified.
 */
import fs from "node:fs";
import path from "node:path";
import { type Address, getContractAddress, type Hex } from "viem";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";
import type { Signer } from "../../network/signer.ts";
import { formatMag } from "../amounts.ts";
import { addressOf } from "./account.ts";
import {
  deploymentSteps,
  type PlanFile,
  type PlanOptions,
  type PlanStep,
  planFileSchema,
  plannedDeployment,
} from "./deploy-plan.ts";
import type { Deployment } from "./deployment.ts";
import { onChain } from "./errors.ts";
import { Ledger } from "./ledger.ts";
import type { Entry, Reason } from "./queue-types.ts";
import type { Rpc } from "./rpc.ts";
import { nonceTaken } from "./sender.ts";
import { TransactionQueue, type WaitOptions } from "./transaction-queue.ts";
import { verifyDeployment } from "./verify-deployment.ts";

export interface DeployOptions extends Omit<PlanOptions, "from" | "first_nonce" | "genesis"> {
  rpc: Rpc;
  signer: Signer;
  clock: Clock;
  /** Where the plan and its transactions are kept until it is done. */
  folder: string;
  /** Start of epoch 0; the chain's time where it is absent. */
  genesis?: number;
  /** Forgets a deployment that was interrupted, and begins another. */
  anew?: boolean;
  signal?: AbortSignal;
  poll_ms?: number;
  onProgress?: (done: number, total: number, what: string) => void;
  onBlocked?: (reason: Reason | null) => void;
}

export interface Deployed {
  deployment: Deployment;
  transactions: number;
  gas_used: number;
  /** Went on with a plan of an earlier run. */
  resumed: boolean;
}

const planFile = (folder: string) => path.join(folder, "deploy-plan.json");

function readPlan(folder: string): PlanFile | undefined {
  const file = planFile(folder);
  if (!fs.existsSync(file)) return undefined;
  const parsed = planFileSchema.safeParse(JSON.parse(readSmallText(file, 64 << 10)));
  return parsed.success ? parsed.data : undefined;
}

function writePlan(folder: string, plan: PlanFile): void {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const temporary = `${planFile(folder)}.tmp`;
  const file = fs.openSync(temporary, "w", 0o600);
  fs.writeSync(file, `${JSON.stringify(plan, null, 2)}\n`);
  // A plan that a power failure took away would leave contracts that nobody goes on with.
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.renameSync(temporary, planFile(folder));
}

/** Everything that was asked for, but for what the chain decides. */
function requestHash(options: DeployOptions): string {
  const { epoch_seconds, block_randomness, values, governance, genesis_supply, grants } = options;
  const request = { epoch_seconds, block_randomness, values, governance, genesis_supply, grants };
  const text = JSON.stringify(request, (_, v) => (typeof v === "bigint" ? v.toString() : v));
  return sha256Hex(canonicalJson(JSON.parse(text)));
}

/** The plan of an earlier run, or a new one from the account's next nonce. */
async function choosePlan(options: DeployOptions): Promise<{ plan: PlanFile; resumed: boolean }> {
  const { rpc, signer, folder, anew } = options;
  const from = addressOf(signer.public_key);
  const ask = <T>(method: string, ...params: unknown[]) =>
    onChain(method, () => rpc.request<T>(method, params));
  const chain_id = Number(await ask<Hex>("eth_chainId"));
  const first = await ask<{ hash: Hex } | null>("eth_getBlockByNumber", "0x0", false);
  const chain_hash = first?.hash ?? "";
  const request_hash = requestHash(options);
  const earlier = anew ? undefined : readPlan(folder);
  const same_chain = earlier?.chain_id === chain_id && earlier.chain_hash === chain_hash;
  if (earlier !== undefined && same_chain && earlier.from === from) {
    if (earlier.request_hash === request_hash) return { plan: earlier, resumed: true };
    throw new MagnetError(
      "DEPLOYMENT_UNFINISHED",
      "an earlier deployment with other options was interrupted",
      { hint: "finish it with the same options, or forget it: --anew", exit: "chain" },
    );
  }
  const first_nonce = Number(await ask<Hex>("eth_getTransactionCount", from, "pending"));
  const block = await ask<{ timestamp: Hex }>("eth_getBlockByNumber", "latest", false);
  const plan: PlanFile = {
    schema: "magnet.deploy_plan/1",
    ...{ chain_id, chain_hash, from, first_nonce, request_hash },
    genesis: options.genesis ?? Number(block.timestamp),
  };
  writePlan(folder, plan);
  return { plan, resumed: false };
}

function checkGrants({ grants, genesis_supply }: DeployOptions): void {
  const sum = grants.reduce((total, { mag }) => total + mag, 0n);
  if (sum <= genesis_supply) return;
  throw new MagnetError(
    "GRANTS_TOO_LARGE",
    `grants of ${formatMag(sum)} MAG exceed the genesis supply of ${formatMag(genesis_supply)} MAG`,
    { hint: "raise --supply or lower --grant", exit: "usage" },
  );
}

/** The queue of one plan: another plan has other nonces. */
function planQueue(options: DeployOptions, plan: PlanFile): TransactionQueue {
  const { rpc, signer, clock, folder } = options;
  const id = sha256Hex(canonicalJson(plan)).slice(0, 12);
  const file = path.join(folder, `deploy-${id}.sqlite`);
  return new TransactionQueue({ rpc, chain_id: plan.chain_id, signer, file, clock });
}

/** Runs the checks of all values without sending: one out of bounds is found before anything is paid. */
async function rehearse(rpc: Rpc, from: string, steps: PlanStep[]): Promise<void> {
  const { what, data } = steps.find(({ contract }) => contract === "params")!;
  await onChain(what, () => rpc.request("eth_call", [{ from, data }, "pending"]));
}

/** A nonce that is used up was ours where the contract lies; of a transfer the nonce is the proof. */
async function mustBeDone(rpc: Rpc, step: PlanStep, from: Address): Promise<void> {
  if (step.contract === undefined) return;
  const address = getContractAddress({ from, nonce: BigInt(step.nonce) });
  const code = await onChain("code", () => rpc.request<Hex>("eth_getCode", [address, "latest"]));
  if (code === "0x") throw nonceTaken(step);
}

/** Sends one step unless it was done by an earlier run whose queue is gone. */
async function submitStep(queue: TransactionQueue, rpc: Rpc, step: PlanStep, index: number) {
  const key = `step:${index}`;
  const { what, to, data, value, nonce } = step;
  if (queue.get(key) === undefined) {
    const count = await onChain("nonce", () =>
      rpc.request<Hex>("eth_getTransactionCount", [queue.address, "latest"]),
    );
    if (Number(count) > nonce) {
      await mustBeDone(rpc, step, queue.address);
      return undefined;
    }
  }
  queue.submit({ key, what, to, data, value, nonce });
  return key;
}

function failed({ what, reason }: Entry): MagnetError {
  const message = `deploying: ${reason?.message ?? what}`;
  const again = "fix the cause and run the same command again, or begin anew: --anew";
  return new MagnetError(reason?.code ?? "DEPLOYMENT_FAILED", message, {
    hint: reason?.hint ?? again,
    exit: "chain",
  });
}

/**
 * Deploys and verifies. Throws what a constructor reverts with (OUT_OF_BOUNDS names the value),
 * NONCE_TAKEN where the account was used in between, DEPLOYMENT_UNFINISHED, LEDGER_DIFFERS, RPC_DOWN.
 */
export async function deployLedger(options: DeployOptions): Promise<Deployed> {
  checkGrants(options);
  const { rpc, folder, signal, poll_ms, onProgress, onBlocked } = options;
  const { plan, resumed } = await choosePlan(options);
  const from = addressOf(options.signer.public_key);
  const { first_nonce, genesis } = plan;
  const steps = deploymentSteps({ ...options, from, first_nonce, genesis });
  await rehearse(rpc, from, steps);
  const queue = planQueue(options, plan);
  const waiting: WaitOptions = {
    ...(signal && { signal }),
    ...(poll_ms !== undefined && { poll_ms }),
    ...(onBlocked && { onBlocked }),
  };
  let gas_used = 0;
  let block: number | undefined;
  try {
    const keys: (string | undefined)[] = [];
    for (const [i, step] of steps.entries()) keys.push(await submitStep(queue, rpc, step, i));
    for (const [i, key] of keys.entries()) {
      if (key !== undefined) {
        const entry = await queue.wait(key, waiting);
        if (entry.state !== "mined") throw failed(entry);
        gas_used += entry.gas_used ?? 0;
        block ??= entry.block_number ?? undefined;
      }
      onProgress?.(i + 1, steps.length, steps[i]!.what);
    }
  } finally {
    await queue.close();
  }
  const planned = { ...options, from, first_nonce, genesis };
  const deployment = plannedDeployment(planned, plan.chain_id, block ?? 0);
  await verifyDeployment(new Ledger(rpc, deployment), from);
  fs.rmSync(planFile(folder), { force: true });
  return { deployment, transactions: steps.length, gas_used, resumed };
}
