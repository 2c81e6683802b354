/** A stake is reached once: what is slashed, or taken back, is not put there again by a restart. */
import { expect, test } from "bun:test";
import { StakeKeeper } from "../../src/agent/ledger/stake-keeper.ts";
import { seededRandom } from "../../src/core/random.ts";
import { identityOf } from "../../src/network/identity.ts";

const { public_key } = identityOf(seededRandom(5).bytes(32));

/** A queue that mines at once, and the node as the chain has it. */
function world() {
  const node = { registered: false, bond: 0n, notaryBond: 0n };
  const entries = new Map<string, { key: string; state: string; data: string }>();
  const calls: string[] = [];
  const ledger = {
    read: async (_contract: string, name: string) => (name === "nodeOf" ? node : 10n ** 30n),
    address: () => "0x",
    call: (_contract: string, name: string, args: readonly unknown[]) => ({
      ...{ data: `${name}(${args.join()})`, what: name, name, amount: args.at(-1) },
    }),
  };
  type Submission = { key: string; data: string; name: string; amount: bigint };
  const queue = {
    address: "0x",
    get: (key: string) => entries.get(key),
    recent: () => [...entries.values()],
    submit: ({ key, data, name, amount }: Submission) => {
      calls.push(data);
      if (name === "register") Object.assign(node, { registered: true, bond: amount });
      if (name === "addBond") node.bond += amount;
      if (name === "takeSeat") node.notaryBond += amount;
      const entry = { key, data, state: "confirmed" };
      entries.set(key, entry);
      return entry;
    },
  };
  const run = async (bond: bigint, seat: bigint) => {
    calls.length = 0;
    const given = { public_key, tier: "cpu_only" as const, wanted: { bond, seat } };
    const keeper = new StakeKeeper({ ledger: ledger as never, queue: queue as never, ...given });
    for (let i = 0; i < 8 && keeper.status.state !== "done"; i++) await keeper.advance();
    expect(keeper.status.state).toBe("done");
    return calls.map((call) => call.split("(")[0]!);
  };
  return { node, run };
}

test("after a slash a restart puts nothing back; another amount does", async () => {
  const { node, run } = world();
  expect(await run(100n, 50n)).toEqual(["register", "takeSeat"]);
  Object.assign(node, { bond: 70n, notaryBond: 45n });
  expect(await run(100n, 50n)).toEqual([]);
  expect(await run(120n, 60n)).toEqual(["addBond", "takeSeat"]);
  expect(node).toMatchObject({ bond: 120n, notaryBond: 60n });
  Object.assign(node, { bond: 90n, notaryBond: 0n });
  expect(await run(120n, 60n)).toEqual([]);
});
