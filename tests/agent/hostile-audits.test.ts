/**
 * Liars around audits of training, among real nodes: authors that serve nothing, garbage, the wrong
 * length or a trickle, and auditors that find fault with honest work. None of it stops the rounds,
 * and nobody is left out for what only one says.
 */
import { afterEach, describe, expect, test } from "bun:test";
import type { RunningNode } from "../../src/agent/runtime.ts";
import { CHUNK_MAX } from "../../src/network/bulk-messages.ts";
import { AUDIT_LIMIT_MS, auditedNetwork, countsOf, leavesOut, sumOf } from "./audited-network.ts";
import { type Member, makeJob, type TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
}, 60_000);

const never = new Promise<never>(() => undefined);

/** What authors do instead of serving, by name. */
const REFUSALS: Record<string, (node: RunningNode) => void> = {
  "its trail": ({ trails }) => {
    trails.textFor = () => null;
  },
  "another text for its trail": ({ trails }) => {
    trails.textFor = () => '{"schema":"magnet.trail/1"}';
  },
  "no points": ({ trails }) => {
    trails.size = () => null;
  },
  "garbage for points": ({ trails }) => {
    trails.read = async (_hash, _offset, length) => new Uint8Array(length);
  },
  "points of another length": ({ trails }) => {
    trails.size = () => CHUNK_MAX;
  },
  "points, but never": ({ trails }) => {
    trails.read = () => never;
  },
  "none, for it kept none": ({ trails }) => {
    trails.makeRoom = async () => false;
  },
};

describe("an author that serves", () => {
  for (const [i, [name, refuse]] of Object.entries(REFUSALS).entries())
    test(
      `${name === "its trail" ? "no trail" : name} has failed its audits, here and nowhere else`,
      async () => {
        network = await auditedNetwork(3, 50 + i, { serve_ms: 1500 });
        const [author, ...others] = network.members;
        refuse(author!.running);
        await others[0]!.submit(await makeJob({ rounds: 400 }));
        await until("audits to fail", () => sumOf(others, "not_served") >= 2, AUDIT_LIMIT_MS);
        const failed = others.flatMap(({ running }) =>
          running.audits.book.done().filter(({ state }) => state === "not_served"),
        );
        for (const audit of failed) expect(audit.author).toBe(author!.identity.public_key);
        const { length } = others[0]!.states;
        await until("rounds to go on", () => others[0]!.states.length > length, AUDIT_LIMIT_MS);
        for (const member of others) {
          expect(member.running.audits.status().left_out).toEqual([]);
          expect(countsOf(member).wrong).toBe(0);
        }
      },
      2 * AUDIT_LIMIT_MS,
    );
});

/** It goes on from moments that are the end of no contribution, and has a trail for them. */
function inventsPast({ running }: Member): void {
  const { jobs, trails } = running;
  const run = jobs.run.bind(jobs);
  jobs.run = (job_id, work) =>
    run(job_id, (runner) => {
      const train = runner.train.bind(runner);
      runner.train = (task, signal) => {
        const last = task.previous_trail && trails.trail(task.previous_trail);
        const previous_trail = last && trails.add({ ...last, announce_hash: task.announce_hash });
        return train({ ...task, previous_trail }, signal);
      };
      return work(runner).finally(() => {
        runner.train = train;
      });
    });
}

test(
  "an author that goes on from what was never merged is found wrong",
  async () => {
    network = await auditedNetwork(4, 63);
    const [liar, ...honest] = network.members;
    inventsPast(liar!);
    await honest[0]!.submit(await makeJob({ rounds: 400 }));
    await until(
      "all others to leave it out",
      () => honest.every((member) => leavesOut(member, liar!)),
      AUDIT_LIMIT_MS,
    );
    const found = honest[0]!.running.audits.book.verdicts().map(({ verdict }) => verdict!.claim);
    expect(found.map(({ author, reason }) => [author, reason])).toEqual([
      [liar!.identity.public_key, "it goes on from a contribution that was never merged"],
    ]);
  },
  2 * AUDIT_LIMIT_MS,
);

/** All that this member audits is wrong, it says. */
function findsFault({ running }: Member): void {
  const { jobs } = running;
  const run = jobs.run.bind(jobs);
  jobs.run = async <T>(...[job_id, work]: Parameters<typeof run<T>>): Promise<T> => {
    const result = await run(job_id, work);
    const isOutcome = (result as { state?: string } | undefined)?.state === "passed";
    return isOutcome ? ({ state: "wrong", reason: "made up" } as T) : result;
  };
}

test(
  "false claims of one auditor are refuted, noted against it, and nobody is left out",
  async () => {
    network = await auditedNetwork(4, 60);
    const [liar, ...honest] = network.members;
    findsFault(liar!);
    await honest[0]!.submit(await makeJob({ rounds: 400 }));
    await until(
      "three lies to be refuted",
      () => sumOf(honest, "false_claims") >= 3,
      AUDIT_LIMIT_MS,
    );
    for (const { running } of network.members) expect(running.audits.status().left_out).toEqual([]);
    expect(countsOf(liar!).wrong).toBeGreaterThanOrEqual(3);
    expect(sumOf(honest, "wrong")).toBe(0);
    const denied = () => liar!.running.audits.book.claims("denied").length;
    await until("the liar to be told so", () => denied() >= 3, AUDIT_LIMIT_MS);
  },
  2 * AUDIT_LIMIT_MS,
);

test(
  "an auditor that cannot hands over to the next",
  async () => {
    network = await auditedNetwork(4, 61);
    const [unable, ...others] = network.members;
    // As a node without room on its disk.
    unable!.running.audits.files.hasRoom = () => false;
    await others[0]!.submit(await makeJob({ rounds: 400 }));
    const handed = () =>
      unable!.running.audits.book.done().filter(({ state }) => state === "handed_over");
    const taken = () =>
      handed().filter(({ round, author }) =>
        others.some(({ running }) => running.audits.book.audit(round, author)?.state === "passed"),
      );
    await until("others to do what it could not", () => taken().length >= 2, AUDIT_LIMIT_MS);
    expect(handed()[0]!.reason).toBe("no room on the disk");
    expect(countsOf(unable!).passed).toBe(0);
    expect(sumOf(network.members, "wrong") + sumOf(network.members, "not_served")).toBe(0);
  },
  2 * AUDIT_LIMIT_MS,
);

test(
  "for a drawn auditor that is gone the next one steps in",
  async () => {
    network = await auditedNetwork(4, 62);
    const [, , , gone] = network.members;
    const others = network.members.slice(0, 3);
    await others[0]!.submit(await makeJob({ rounds: 400 }));
    await until("a round", () => others[0]!.states.length > 0, AUDIT_LIMIT_MS);
    await gone!.stop();
    const key = gone!.identity.public_key;
    const stepped_in = () =>
      others.flatMap(({ running: { audits } }) =>
        audits.book.done().filter(({ round, author, state }) => {
          const auditors = audits.book.case(round, author)!.value.auditors;
          return auditors[0] === key && state === "passed";
        }),
      );
    await until("others to audit in its place", () => stepped_in().length >= 2, AUDIT_LIMIT_MS);
    expect(sumOf(others, "wrong")).toBe(0);
  },
  2 * AUDIT_LIMIT_MS,
);
