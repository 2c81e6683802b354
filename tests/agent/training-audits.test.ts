/**
 * Audits of training among real nodes, every contribution of every round: honest nodes pass, cheats are
 * found by one, confirmed by another and left out, and whoever does not serve has failed.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { AUDIT_LIMIT_MS, auditedNetwork, countsOf, leavesOut, sumOf } from "./audited-network.ts";
import { CHEATS, cheats } from "./cheats.ts";
import { awaitStates, makeJob, type TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
}, 60_000);

test(
  "honest nodes pass all audits, over several rounds and to the last of the job",
  async () => {
    network = await auditedNetwork(3, 21);
    const { members } = network;
    const rounds = 4;
    await members[0]!.submit(await makeJob({ rounds }));
    await awaitStates(members, rounds, AUDIT_LIMIT_MS);
    const done = () => sumOf(members, "due") === 0 && sumOf(members, "passed") === 3 * rounds;
    await until("every contribution to be audited", done, AUDIT_LIMIT_MS).catch((error) => {
      throw new Error(`${error}: ${JSON.stringify(members.map(countsOf))}`);
    });
    for (const key of ["wrong", "not_served", "not_auditable", "handed_over"] as const)
      expect([key, sumOf(members, key)]).toEqual([key, 0]);
    for (const member of members) {
      expect(member.running.audits.status().left_out).toEqual([]);
      expect(countsOf(member).asked).toBeGreaterThanOrEqual(rounds);
      const audits = member.running.audits.book.done();
      expect(audits.every(({ reason }) => reason === "bits")).toBe(true);
    }
    // Nothing of them stays on the disk.
    await until("the files to be gone", () =>
      members.every(({ running }) => running.audits.files.store.list().length === 0),
    );
  },
  2 * AUDIT_LIMIT_MS,
);

describe("a member that cheats is found, confirmed by another, and left out", () => {
  for (const [i, [name, cheat]] of Object.entries(CHEATS).entries())
    test(
      `one that ${name}`,
      async () => {
        network = await auditedNetwork(4, 30 + i);
        const { members } = network;
        const [cheat_member, ...honest] = members;
        cheats(cheat_member!, cheat);
        await honest[0]!.submit(await makeJob({ rounds: 400, inner_steps: 3 }));
        await until(
          "all others to leave it out",
          () => honest.every((member) => leavesOut(member, cheat_member!)),
          AUDIT_LIMIT_MS,
        );
        expect(sumOf(honest, "confirmed")).toBe(3);
        const from = honest[0]!.running.machine.view().round + 2;
        const cheat_key = cheat_member!.identity.public_key;
        const records = await until(
          "rounds without it",
          () => {
            const later = honest[0]!.running.history.records.filter(
              ({ round, leader }) => round >= from && leader !== cheat_key,
            );
            return later.length >= 2 && later;
          },
          AUDIT_LIMIT_MS,
        );
        for (const { contributors } of records) expect(contributors).not.toContain(cheat_key);
        // Nobody else is, and the cheat itself finds nothing wrong with the others.
        for (const member of members)
          for (const other of honest) expect(leavesOut(member, other)).toBe(false);
        // Two hold the files as evidence.
        const keeps = honest.filter(({ running }) => running.audits.files.store.list().length > 0);
        expect(keeps.length).toBeGreaterThanOrEqual(2);
      },
      2 * AUDIT_LIMIT_MS,
    );
});
