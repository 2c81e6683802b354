/**
 * The accounts, code and storage of the chain, as the EVM changes them: values are read from the
 * trie once, changes stay in memory with a log to undo them, and only `flush` writes the trie.
 * Invariant: after `revert` every value is what it was at the matching `checkpoint`.
 */
import type { AccountFields, StateManagerInterface } from "@ethereumjs/common";
import { RLP } from "@ethereumjs/rlp";
import { OriginalStorageCache } from "@ethereumjs/statemanager";
import { Account, type Address, createAccountFromRLP } from "@ethereumjs/util";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { invariant } from "../../core/errors.ts";
import { fromHex, toHex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { EMPTY_ROOT, type NodeReader, Trie } from "./trie.ts";

/** Nodes of the tries and contracts' code, by their hashes. */
export interface StateStore extends NodeReader {
  put(hash: Uint8Array, bytes: Uint8Array): void;
  code(hash: Uint8Array): Uint8Array | undefined;
  putCode(hash: Uint8Array, code: Uint8Array): void;
}

/** An account as kept here: never changed in place, so that undoing is putting the old one back. */
interface Held {
  readonly nonce: bigint;
  readonly balance: bigint;
  readonly storage_root: Uint8Array;
  readonly code_hash: Uint8Array;
}

const EMPTY_CODE_HASH = keccak_256(new Uint8Array(0));
const NOTHING = new Uint8Array(0);
const equal = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
const withoutZeros = (value: Uint8Array) => {
  let start = 0;
  while (start < value.length && value[start] === 0) start++;
  return start === 0 ? value : value.slice(start);
};

export class ChainState implements StateManagerInterface {
  readonly originalStorageCache = new OriginalStorageCache((address, key) =>
    this.getStorage(address, key),
  );
  readonly #store: StateStore;
  #trie: Trie;
  #accounts = new Map<string, Held | undefined>();
  #storage = new Map<string, Map<string, Uint8Array>>();
  #values = 0;
  /** Code set since the last flush; the store holds all other. */
  readonly #new_codes = new Map<string, Uint8Array>();
  readonly #changed_accounts = new Set<string>();
  readonly #changed_slots = new Map<string, Set<string>>();
  /** Accounts whose stored slots no longer count: created anew or deleted in this block. */
  readonly #emptied = new Set<string>();
  readonly #storage_tries = new Map<string, Trie>();
  readonly #undo: (() => void)[] = [];
  readonly #marks: number[] = [];

  constructor(store: StateStore, root: Uint8Array = EMPTY_ROOT) {
    this.#store = store;
    this.#trie = new Trie(store, root);
  }

  /** Accounts and slots read so far. */
  get cached_values(): number {
    return this.#values;
  }

  #held(key: string): Held | undefined {
    if (this.#accounts.has(key)) return this.#accounts.get(key);
    const bytes = this.#trie.get(keccak_256(fromHex(key)));
    let held: Held | undefined;
    if (bytes !== undefined) {
      const { nonce, balance, storageRoot, codeHash } = createAccountFromRLP(bytes);
      held = { nonce, balance, storage_root: storageRoot, code_hash: codeHash };
    }
    this.#accounts.set(key, held);
    this.#values++;
    return held;
  }

  #hold(key: string, held: Held | undefined): void {
    const before = this.#held(key);
    this.#accounts.set(key, held);
    this.#changed_accounts.add(key);
    this.#undo.push(() => this.#accounts.set(key, before));
  }

  async getAccount(address: Address): Promise<Account | undefined> {
    return this.accountOf(address.toString());
  }

  /** An account by its address in lower case. */
  accountOf(address: string): Account | undefined {
    const held = this.#held(address);
    if (held === undefined) return undefined;
    return new Account(held.nonce, held.balance, held.storage_root, held.code_hash);
  }

  async putAccount(address: Address, account?: Account): Promise<void> {
    if (account === undefined) return this.deleteAccount(address);
    const { nonce, balance, storageRoot, codeHash } = account;
    this.#hold(address.toString(), {
      ...{ nonce, balance, storage_root: storageRoot, code_hash: codeHash },
    });
  }

  async deleteAccount(address: Address): Promise<void> {
    this.#hold(address.toString(), undefined);
    await this.clearStorage(address);
  }

  async modifyAccountFields(address: Address, fields: AccountFields): Promise<void> {
    const account = this.accountOf(address.toString()) ?? new Account();
    account.nonce = fields.nonce ?? account.nonce;
    account.balance = fields.balance ?? account.balance;
    account.storageRoot = fields.storageRoot ?? account.storageRoot;
    account.codeHash = fields.codeHash ?? account.codeHash;
    await this.putAccount(address, account);
  }

  async putCode(address: Address, code: Uint8Array): Promise<void> {
    const code_hash = keccak_256(code);
    this.#new_codes.set(toHex(code_hash), code);
    const key = address.toString();
    const { nonce, balance, storage_root } = this.#held(key) ?? {
      ...{ nonce: 0n, balance: 0n, storage_root: EMPTY_ROOT },
    };
    this.#hold(key, { nonce, balance, storage_root, code_hash });
  }

  async getCode(address: Address): Promise<Uint8Array> {
    return this.codeOf(address.toString());
  }

  codeOf(address: string): Uint8Array {
    const held = this.#held(address);
    if (held === undefined || equal(held.code_hash, EMPTY_CODE_HASH)) return NOTHING;
    const code = this.#new_codes.get(toHex(held.code_hash)) ?? this.#store.code(held.code_hash);
    invariant(code !== undefined, "the code of a contract is missing from the store");
    return code;
  }

  async getCodeSize(address: Address): Promise<number> {
    return this.codeOf(address.toString()).length;
  }

  #slots(key: string): Map<string, Uint8Array> {
    let slots = this.#storage.get(key);
    if (slots === undefined) {
      slots = new Map();
      this.#storage.set(key, slots);
    }
    return slots;
  }

  #storageTrie(key: string, root: Uint8Array): Trie {
    let trie = this.#storage_tries.get(key);
    if (trie === undefined) {
      trie = new Trie(this.#store, root);
      this.#storage_tries.set(key, trie);
    }
    return trie;
  }

  async getStorage(address: Address, slot: Uint8Array): Promise<Uint8Array> {
    return this.storageOf(address.toString(), slot);
  }

  /** The slot's value without leading zeros; no bytes where it was never set. */
  storageOf(address: string, slot: Uint8Array): Uint8Array {
    const slots = this.#slots(address);
    const name = toHex(slot);
    const known = slots.get(name);
    if (known !== undefined) return known;
    const held = this.#held(address);
    if (held === undefined) return NOTHING;
    let value: Uint8Array = NOTHING;
    if (!this.#emptied.has(address) && !equal(held.storage_root, EMPTY_ROOT)) {
      const bytes = this.#storageTrie(address, held.storage_root).get(keccak_256(slot));
      if (bytes !== undefined) value = RLP.decode(bytes) as Uint8Array;
    }
    slots.set(name, value);
    this.#values++;
    return value;
  }

  async putStorage(address: Address, slot: Uint8Array, value: Uint8Array): Promise<void> {
    const key = address.toString();
    const name = toHex(slot);
    const before = this.storageOf(key, slot);
    const slots = this.#slots(key);
    slots.set(name, withoutZeros(value));
    let changed = this.#changed_slots.get(key);
    if (changed === undefined) {
      changed = new Set();
      this.#changed_slots.set(key, changed);
    }
    changed.add(name);
    this.#undo.push(() => slots.set(name, before));
  }

  async clearStorage(address: Address): Promise<void> {
    const key = address.toString();
    const before = this.#storage.get(key);
    const counted = !this.#emptied.has(key);
    this.#storage.set(key, new Map());
    this.#emptied.add(key);
    this.#changed_accounts.add(key);
    this.#undo.push(() => {
      if (before === undefined) this.#storage.delete(key);
      else this.#storage.set(key, before);
      if (counted) this.#emptied.delete(key);
    });
  }

  async checkpoint(): Promise<void> {
    this.#marks.push(this.#undo.length);
  }

  async commit(): Promise<void> {
    invariant(this.#marks.pop() !== undefined, "a commit ends a checkpoint");
    if (this.#marks.length === 0) {
      this.#undo.length = 0;
      this.originalStorageCache.clear();
    }
  }

  async revert(): Promise<void> {
    const mark = this.#marks.pop();
    invariant(mark !== undefined, "a revert ends a checkpoint");
    while (this.#undo.length > mark) this.#undo.pop()!();
    if (this.#marks.length === 0) this.originalStorageCache.clear();
  }

  #flushStorage(key: string, held: Held): Held {
    const emptied = this.#emptied.has(key);
    const changed = this.#changed_slots.get(key);
    if (!emptied && changed === undefined) return held;
    const slots = this.#slots(key);
    const trie = emptied ? new Trie(this.#store) : this.#storageTrie(key, held.storage_root);
    for (const name of changed ?? []) {
      const value = slots.get(name);
      if (value === undefined) continue; // set before the storage was emptied
      const hashed = keccak_256(fromHex(name));
      if (value.length === 0) trie.delete(hashed);
      else trie.put(hashed, RLP.encode(value));
    }
    const storage_root = trie.commit((hash, bytes) => this.#store.put(hash, bytes));
    return { ...held, storage_root };
  }

  /** Writes every change into the store; returns the state root. Not within a checkpoint. */
  flush(): Uint8Array {
    invariant(this.#marks.length === 0, "the state is flushed between transactions only");
    for (const key of new Set([...this.#changed_accounts, ...this.#changed_slots.keys()])) {
      let held = this.#held(key);
      const hashed = keccak_256(fromHex(key));
      if (held === undefined) {
        this.#trie.delete(hashed);
        continue;
      }
      held = this.#flushStorage(key, held);
      this.#accounts.set(key, held);
      const { nonce, balance, storage_root, code_hash } = held;
      this.#trie.put(hashed, new Account(nonce, balance, storage_root, code_hash).serialize());
    }
    for (const [hash, code] of this.#new_codes) this.#store.putCode(fromHex(hash), code);
    const root = this.#trie.commit((hash, bytes) => this.#store.put(hash, bytes));
    this.#changed_accounts.clear();
    this.#changed_slots.clear();
    this.#emptied.clear();
    this.#storage_tries.clear();
    this.#new_codes.clear();
    this.#undo.length = 0;
    if (this.#values > CHAIN_LIMITS.cached_values) this.clearCaches();
    return root;
  }

  /** Proof of an account, or of its absence, and of some of its slots (EIP-1186). */
  prove(
    address: string,
    slots: readonly Uint8Array[],
  ): { account: Uint8Array[]; slots: Uint8Array[][] } {
    const root = this.#held(address)?.storage_root ?? EMPTY_ROOT;
    const storage = new Trie(this.#store, root);
    return {
      account: this.#trie.prove(keccak_256(fromHex(address))),
      slots: slots.map((slot) => storage.prove(keccak_256(slot))),
    };
  }

  async getStateRoot(): Promise<Uint8Array> {
    return this.flush();
  }

  async setStateRoot(root: Uint8Array): Promise<void> {
    invariant(this.#marks.length === 0, "the root is set between transactions only");
    this.#changed_accounts.clear();
    this.#changed_slots.clear();
    this.#emptied.clear();
    this.#new_codes.clear();
    this.#undo.length = 0;
    this.#trie = new Trie(this.#store, root);
    this.clearCaches();
  }

  async hasStateRoot(root: Uint8Array): Promise<boolean> {
    return equal(root, EMPTY_ROOT) || this.#store.get(root) !== undefined;
  }

  clearCaches(): void {
    this.#accounts = new Map();
    this.#storage = new Map();
    this.#storage_tries.clear();
    this.#values = 0;
    this.originalStorageCache.clear();
  }

  /** A second state over the same store, from the last flushed root. */
  shallowCopy(): ChainState {
    return new ChainState(this.#store, this.#trie.commit());
  }
}
