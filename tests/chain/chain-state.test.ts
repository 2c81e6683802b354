/** The state's undo log against a plain model: random changes, nested checkpoints, reverts, flushes. */
import { expect, test } from "bun:test";
import { Account, Address } from "@ethereumjs/util";
import { fromHex, toHex, word } from "../../src/chain/embedded/hex.ts";
import { ChainState } from "../../src/chain/embedded/state.ts";
import { ChainStore } from "../../src/chain/embedded/store.ts";
import { seededRandom } from "../../src/core/random.ts";

interface Model {
  balances: Map<number, bigint>;
  slots: Map<string, number>;
}
const copy = ({ balances, slots }: Model): Model => ({
  ...{ balances: new Map(balances), slots: new Map(slots) },
});
const addressOf = (n: number) =>
  new Address(fromHex(`0x${(n + 1).toString(16).padStart(40, "0")}`));

test("what is reverted is as it was, and what is flushed can be read from a new state", async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  const store = new ChainStore(undefined);
  let state = new ChainState(store);
  let model: Model = { balances: new Map(), slots: new Map() };
  const saved: Model[] = [];

  const compare = () => {
    for (let n = 0; n < 6; n++) {
      const key = addressOf(n).toString();
      if (state.accountOf(key)?.balance !== model.balances.get(n))
        throw new Error(`seed ${seed}: balance of ${n}`);
      for (let slot = 0; slot < 4; slot++) {
        const value = state.storageOf(key, word(BigInt(slot)));
        const expected = model.slots.get(`${n}/${slot}`) ?? 0;
        if (BigInt(value.length === 0 ? 0 : toHex(value)) !== BigInt(expected))
          throw new Error(`seed ${seed}: slot ${n}/${slot} is ${toHex(value)}, not ${expected}`);
      }
    }
  };
  const forget = (n: number) => {
    for (let slot = 0; slot < 4; slot++) model.slots.delete(`${n}/${slot}`);
  };
  const change = async () => {
    const n = random.below(6);
    const address = addressOf(n);
    const account = state.accountOf(address.toString());
    const roll = random.below(10);
    if (roll < 3 || account === undefined) {
      const balance = BigInt(1 + random.below(1000));
      const next = account ?? new Account();
      next.balance = balance;
      await state.putAccount(address, next);
      model.balances.set(n, balance);
    } else if (roll < 8) {
      const [slot, value] = [random.below(4), random.below(3)];
      await state.putStorage(address, word(BigInt(slot)), word(BigInt(value)));
      model.slots.set(`${n}/${slot}`, value);
    } else if (roll === 8) {
      await state.clearStorage(address);
      forget(n);
    } else {
      await state.deleteAccount(address);
      model.balances.delete(n);
      forget(n);
    }
  };

  for (let step = 0; step < 1500; step++) {
    const roll = random.below(12);
    if (roll === 0 && saved.length < 5) {
      await state.checkpoint();
      saved.push(copy(model));
    } else if (roll === 1 && saved.length > 0) {
      await state.commit();
      saved.pop();
    } else if (roll === 2 && saved.length > 0) {
      await state.revert();
      model = saved.pop()!;
    } else if (roll === 3 && saved.length === 0) {
      const root = state.flush();
      if (random.below(2) === 0) state = new ChainState(store, root);
    } else await change();
    compare();
  }
  expect(model.balances.size).toBeGreaterThan(0);
  store.close();
});
