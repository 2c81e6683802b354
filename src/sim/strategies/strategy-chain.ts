/**
 * The real contracts on the embedded chain, in memory and on virtual time: deployed as `chain deploy`
 * does, everybody funded, registered and bonded. No sockets: calls go straight to the chain's methods.
 */
import { maxUint256 } from "viem";
import { MAG } from "../../chain/amounts.ts";
import { ledgerAccount, publicKeyPoint } from "../../chain/client/account.ts";
import { deploymentSteps, plannedDeployment } from "../../chain/client/deploy-plan.ts";
import { type Call, Ledger } from "../../chain/client/ledger.ts";
import { type Rpc, RpcFailure } from "../../chain/client/rpc.ts";
import { DEFAULT_GOVERNANCE, defaultValues, type Values } from "../../chain/default-values.ts";
import { DEFAULT_CHAIN_ID, EmbeddedChain } from "../../chain/embedded/chain.ts";
import { callMethod, rpcMethods } from "../../chain/embedded/rpc.ts";
import { RpcError } from "../../chain/embedded/rpc-error.ts";
import type { Address, Hex, TransactionStatus } from "../../chain/ledger/ledger-types.ts";
import { sha256 } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { TIERS } from "../../core/tiers.ts";
import { type Identity, identityOf } from "../../network/identity.ts";

/** Virtual time of the start. */
const START_S = 1_800_000_000;
/** Above every call of the ledger; unused gas costs nothing where gas is free. */
const GAS = 5_000_000n;
/** What everybody begins with, bonds included. */
export const FUNDS = 1000n * MAG;
const TIER = "cpu_only";

export class StrategyChain {
  now_s = START_S;
  readonly values: Values;
  ledger!: Ledger;
  #chain!: EmbeddedChain;
  #rpc!: Rpc;
  readonly #nonces = new Map<Address, number>();

  private constructor(readonly epoch_seconds: number) {
    this.values = defaultValues(epoch_seconds);
  }

  /** Deploys the contracts and registers the members; the first `notaries` of them take a seat. */
  static async open(
    epoch_seconds: number,
    seed: number,
    members: readonly Identity[],
    notaries: number,
  ): Promise<StrategyChain> {
    const world = new StrategyChain(epoch_seconds);
    const deployer = identityOf(sha256(`strategies ${seed} deployer`));
    await world.#deploy(deployer, members);
    for (const [index, member] of members.entries()) await world.#enter(member, index < notaries);
    return world;
  }

  async #deploy(deployer: Identity, members: readonly Identity[]): Promise<void> {
    const clock = { now_ms: () => this.now_s * 1000 };
    this.#chain = await EmbeddedChain.open({ clock });
    const methods = rpcMethods(this.#chain);
    this.#rpc = {
      name: "in this process",
      health: () => ({ state: "up", since_ms: 0, reason: "" }),
      request: async <T>(method: string, params: readonly unknown[] = []) => {
        try {
          return (await callMethod(methods, method, [...params])) as T;
        } catch (error) {
          if (!(error instanceof RpcError)) throw error;
          throw new RpcFailure(method, error.code, error.message, error.data);
        }
      },
    };
    const options = {
      ...{ from: ledgerAccount(deployer).address, first_nonce: 0, genesis: this.now_s },
      ...{ epoch_seconds: this.epoch_seconds, block_randomness: false, values: this.values },
      ...{ governance: DEFAULT_GOVERNANCE, genesis_supply: 10_000_000n * MAG },
      grants: members.map((member) => ({
        ...{ to: ledgerAccount(member).address, mag: FUNDS, coin: 0n },
      })),
    };
    for (const { to, data } of deploymentSteps(options)) await this.#transact(deployer, to, data);
    this.ledger = new Ledger(this.#rpc, plannedDeployment(options, DEFAULT_CHAIN_ID, 1));
  }

  async #enter(member: Identity, is_notary: boolean): Promise<void> {
    for (const spender of ["nodes", "disputes"] as const) {
      const args = [this.ledger.address(spender), maxUint256] as const;
      await this.mustSend(member, this.ledger.call("magToken", "approve", args));
    }
    const { x, y } = publicKeyPoint(member.public_key);
    const tier = TIERS.indexOf(TIER);
    const bond = this.values.tierBonds[tier]!;
    await this.mustSend(member, this.ledger.call("nodes", "register", [x, y, tier, bond]));
    if (!is_notary) return;
    await this.mustSend(member, this.ledger.call("nodes", "takeSeat", [this.values.notaryBond]));
  }

  async #transact(from: Identity, to: Hex | null, data: Hex): Promise<boolean> {
    const account = ledgerAccount(from);
    const nonce = this.#nonces.get(account.address as Address) ?? 0;
    this.#nonces.set(account.address as Address, nonce + 1);
    const raw = await account.signTransaction({
      ...{ type: "eip1559" as const, chainId: DEFAULT_CHAIN_ID, nonce, data },
      ...{ gas: to === null ? 2n * GAS : GAS, maxFeePerGas: 0n, maxPriorityFeePerGas: 0n },
      ...(to === null ? {} : { to }),
    });
    const hash = await this.#rpc.request<Hex>("eth_sendRawTransaction", [raw]);
    const receipt = await this.#rpc.request<{ status: Hex }>("eth_getTransactionReceipt", [hash]);
    return receipt.status === "0x1";
  }

  /** Sends a call; what it would revert with is told instead, and nothing sent. */
  async send(from: Identity, call: Call): Promise<{ status: TransactionStatus; reason: string }> {
    try {
      await this.ledger.simulate(call, ledgerAccount(from).address);
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      return { status: "reverted", reason: error.message };
    }
    const done = await this.#transact(from, call.to, call.data);
    return done ? { status: "confirmed", reason: "" } : { status: "reverted", reason: call.what };
  }

  async mustSend(from: Identity, call: Call): Promise<void> {
    const { status, reason } = await this.send(from, call);
    if (status === "confirmed") return;
    throw new MagnetError("SIMULATION_FAILED", `${call.what}: ${reason}`, {
      hint: "this is a bug in magnet: the contracts refuse what every node does at its start",
    });
  }

  /** Everything that belongs to a member: what it holds, and its bonds. */
  async wealth(member: Identity): Promise<bigint> {
    const { address } = ledgerAccount(member);
    const free = await this.ledger.read("magToken", "balanceOf", [address]);
    const node = await this.ledger.read("nodes", "nodeOf", [address]);
    return free + node.bond + node.unbonding + node.notaryBond;
  }

  async close(): Promise<void> {
    await this.#chain.close();
  }
}
