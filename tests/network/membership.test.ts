/**
 * Membership: suspicion and death at their limits, records that cannot be forged, bounded tables.
 */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import type { PublicKey } from "../../src/core/types.ts";
import {
  Membership,
  type MembershipEffect,
  type MembershipEvent,
  PEERS_MAX,
} from "../../src/network/membership.ts";
import type { NodeStatus, PeerRecord } from "../../src/network/membership-messages.ts";
import { signRecord } from "../../src/network/peer-record.ts";
import type { Verifier } from "../../src/network/signer.ts";
import { standInKeys } from "../../src/sim/sim-keys.ts";

const keys = standInKeys(3);
const [self, peer, other] = [0, 1, 2].map((i) => keys.signer(i));
const START_MS = 1_800_000_000_000;
const status: NodeStatus = {
  phase: "idle",
  round: 0,
  view: 0,
  decided: 0,
  state_hash: null,
  jobs: 0,
};

function membership(
  bootstrap: { address: string; public_key?: PublicKey }[] = [],
  verifier: Verifier = keys.verifier,
) {
  const machine = new Membership({
    signer: self!,
    verifier,
    random: seededRandom(1),
    roster: [self!.public_key, peer!.public_key],
    tier: "cpu_only",
    address: "self:1",
    bootstrap,
    heartbeat_ms: 1000,
    suspect_ms: 5000,
    dead_ms: 15_000,
  });
  const at = (after_ms: number, event: MembershipEvent) => machine.step(event, START_MS + after_ms);
  at(0, { type: "start", persisted: undefined });
  return { machine, at };
}
const up = (key: PublicKey, dialed: string | null = null): MembershipEvent => ({
  type: "peer_up",
  public_key: key,
  tier: "gpu_compute",
  dialed,
});
const tick: MembershipEvent = { type: "tick", status };
const records = (from: PublicKey, list: PeerRecord[]): MembershipEvent => ({
  type: "message",
  from,
  message: { type: "membership.records", body: { records: list } },
});
const record = (signer = other!, issued_ms = START_MS, address = "other:1"): PeerRecord =>
  signRecord(signer, { tier: "cpu_only", address, issued_ms });
const dials = (effects: MembershipEffect[]): string[] =>
  effects.flatMap((effect) => (effect.type === "dial" ? [effect.address] : []));

describe("liveness", () => {
  test("silence makes a peer suspect, then dead; a word makes it alive again", () => {
    const { machine, at } = membership();
    at(0, up(peer!.public_key));
    at(5000, tick);
    expect(machine.reachable(peer!.public_key)).toBe(true);
    at(5001, tick);
    expect(machine.reachable(peer!.public_key)).toBe(false);
    expect(machine.lostSince(peer!.public_key)).toBe(START_MS + 5001);
    expect(machine.dead(peer!.public_key)).toBe(false);
    at(15_001, tick);
    expect(machine.dead(peer!.public_key)).toBe(true);
    const message = { type: "membership.heartbeat", body: { sequence: 1, status } };
    at(15_002, { type: "message", from: peer!.public_key, message });
    expect(machine.reachable(peer!.public_key)).toBe(true);
    expect(machine.peers.get(peer!.public_key)?.status).toEqual(status);
  });
  test("a lost connection counts at once; a member never heard of dies after the limit", () => {
    const { machine, at } = membership();
    expect(machine.reachableMembers()).toBe(1);
    at(0, up(peer!.public_key));
    expect(machine.reachableMembers()).toBe(2);
    at(10, { type: "peer_down", public_key: peer!.public_key, reason: "reset" });
    expect(machine.reachable(peer!.public_key)).toBe(false);
    const fresh = membership();
    fresh.at(15_001, tick);
    expect(fresh.machine.dead(peer!.public_key)).toBe(true);
  });
});

test("one heartbeat per interval carries the status", () => {
  const { at } = membership();
  const beats = [0, 400, 800, 1200].map(
    (ms) => at(ms, tick).filter((effect) => effect.type === "broadcast").length,
  );
  expect(beats).toEqual([1, 0, 0, 1]);
});

describe("dialling", () => {
  test("bootstrap addresses are dialled at once, then with growing gaps, never the own one", () => {
    const { at } = membership([{ address: "boot:1" }, { address: "self:1" }]);
    const times: number[] = [];
    for (let ms = 0; ms < 60_000; ms += 100) if (dials(at(ms, tick)).length > 0) times.push(ms);
    const gaps = times.slice(1).map((time, i) => time - times[i]!);
    expect(times[0]).toBe(0);
    expect(gaps.length).toBeGreaterThan(3);
    expect(gaps[3]!).toBeGreaterThan(gaps[0]! * 2);
  });
  test("a connected peer is not dialled; after its loss it is", () => {
    const { at } = membership([{ address: "boot:1" }]);
    at(0, tick);
    at(10, up(peer!.public_key, "boot:1"));
    for (let ms = 1000; ms < 4000; ms += 500) expect(dials(at(ms, tick))).toEqual([]);
    at(4000, { type: "peer_down", public_key: peer!.public_key, reason: "reset" });
    expect(dials(at(4100, tick))).toEqual(["boot:1"]);
  });
});

describe("records", () => {
  test("claiming another's address does not keep that other from being dialled", () => {
    const { at } = membership([{ address: "boot:1" }]);
    const stranger = keys.signer(9);
    at(0, up(stranger.public_key));
    const claims = ["boot:1", "peer:1"].map((address, i) =>
      record(i === 0 ? stranger : keys.signer(8), START_MS, address),
    );
    at(1, records(stranger.public_key, claims));
    at(2, records(stranger.public_key, [record(peer!, START_MS, "peer:1")]));
    const dialled = new Set<string>();
    for (let ms = 10; ms < 20_000; ms += 100)
      for (const effect of at(ms, tick))
        if (effect.type === "dial") {
          dialled.add(`${effect.address} ${effect.public_key}`);
          at(ms, { type: "dial_failed", address: effect.address, reason: "another key" });
        }
    expect(dialled).toContain("boot:1 null");
    expect(dialled).toContain(`peer:1 ${peer!.public_key}`);
  });
  test("a peer's record is learned from another, dialled, and kept for the next start", () => {
    const { at } = membership();
    at(0, up(peer!.public_key));
    at(1, records(peer!.public_key, [record()]));
    const dialled: string[] = [];
    let kept: unknown;
    for (let ms = 0; ms < 12_000; ms += 500)
      for (const effect of at(ms, tick)) {
        if (effect.type === "dial") dialled.push(effect.address);
        if (effect.type === "persist") kept = effect.value;
      }
    expect(dialled).toContain("other:1");
    const later = membership();
    later.at(0, { type: "start", persisted: kept });
    expect(dials([...later.at(0, tick), ...later.at(3000, tick)])).toContain("other:1");
  });
  test("a forged, older or far future record is refused", () => {
    const { machine, at } = membership();
    at(0, up(peer!.public_key));
    const forged = { ...record(), address: "evil:1" };
    at(1, records(peer!.public_key, [forged]));
    expect(machine.peers.has(other!.public_key)).toBe(false);
    at(2, records(peer!.public_key, [record(other!, START_MS + 300_003)]));
    expect(machine.peers.has(other!.public_key)).toBe(false);
    at(3, records(peer!.public_key, [record(other!, START_MS, "new:1")]));
    at(4, records(peer!.public_key, [record(other!, START_MS - 1, "old:1")]));
    expect(machine.peers.get(other!.public_key)?.record?.address).toBe("new:1");
  });
  test("a flood of records costs a bounded number of signature checks", () => {
    let checks = 0;
    const counting = {
      verify: (...args: Parameters<typeof keys.verifier.verify>) => {
        checks++;
        return keys.verifier.verify(...args);
      },
    };
    const { machine, at } = membership([], counting);
    at(0, up(peer!.public_key));
    const fresh = (from: number) =>
      Array.from({ length: 64 }, (_, i) => record(keys.signer(from + i), START_MS, `h${i}:1`));
    for (let i = 0; i < 50; i++) at(i, records(peer!.public_key, fresh(100 + 64 * i)));
    expect(checks).toBeGreaterThanOrEqual(64);
    expect(checks).toBeLessThan(150);
    // After a pause it may tell more; one forged record ends its message.
    checks = 0;
    const [first, second] = fresh(10_000);
    at(9000, records(peer!.public_key, [{ ...first!, address: "evil:1" }, second!]));
    expect(checks).toBe(1);
    expect(machine.peers.has(second!.public_key)).toBe(false);
  });
  test("an unreadable durable copy costs nothing but the memory", () => {
    const { machine, at } = membership();
    at(0, { type: "start", persisted: { records: [{ nonsense: true }] } });
    expect(machine.peers.size).toBe(1);
  });
});

test("the table is bounded: strangers make room for newer ones, members stay", () => {
  const { machine, at } = membership();
  at(0, up(peer!.public_key));
  at(0, { type: "peer_down", public_key: peer!.public_key, reason: "reset" });
  for (let i = 0; i < PEERS_MAX + 100; i++) {
    const key = `02${i.toString(16).padStart(64, "0")}` as PublicKey;
    at(i + 1, up(key));
    at(i + 1, { type: "peer_down", public_key: key, reason: "reset" });
  }
  expect(machine.peers.size).toBe(PEERS_MAX);
  expect(machine.peers.has(peer!.public_key)).toBe(true);
});
