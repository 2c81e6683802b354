/** One identity of the strategy simulation: the shipped machine, a wallet, records, and a way to behave. */
import { ledgerAccount } from "../../chain/client/account.ts";
import { EpochMachine } from "../../chain/ledger/epoch-machine.ts";
import { parseRecord } from "../../chain/ledger/epoch-record.ts";
import type { Address, LedgerCall, LedgerPlace } from "../../chain/ledger/ledger-types.ts";
import type { Random } from "../../core/random.ts";
import type { Hash } from "../../core/types.ts";
import { walletVerifier } from "../../network/auth.ts";
import type { Identity } from "../../network/identity.ts";
import type { Strategy } from "./strategies.ts";

const RESEND_MS = 4000;
/** Above this many nodes commitments are gossiped, as in a real network. */
const DIRECT_NODES_MAX = 64;

export class StrategyAgent {
  readonly machine: EpochMachine;
  readonly address: Address;
  /** Records kept here, by hash; served to the others. */
  readonly bytes = new Map<Hash, Uint8Array>();
  /** Calls to be sent, in order. */
  readonly queue: { key: string; call: LedgerCall }[] = [];
  readonly sent = new Set<string>();
  /** Epochs in which another's commitment was copied. */
  readonly copied = new Set<number>();
  /** What it does now: its strategy, or what a rational operator has chosen. */
  doing: Strategy;
  /** Epochs it worked in. */
  worked = 0;

  constructor(
    readonly identity: Identity,
    readonly strategy: Strategy,
    /** Identities with one number share a machine and a purse. */
    readonly operator: number,
    /** Part of a machine's work that this identity does. */
    readonly share: number,
    readonly place: LedgerPlace,
    random: Random,
  ) {
    this.address = ledgerAccount(identity).address.toLowerCase() as Address;
    this.doing = strategy === "rational" ? "lazy" : strategy;
    this.machine = new EpochMachine({
      ...{ signer: identity, verifier: walletVerifier, random, address: this.address, place },
      ...{ direct_nodes_max: DIRECT_NODES_MAX, resend_ms: RESEND_MS },
    });
  }

  readonly records = {
    get: (hash: Hash) => {
      const bytes = this.bytes.get(hash);
      return bytes && parseRecord(bytes);
    },
  };
}
