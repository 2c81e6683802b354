/** Workers of the thread pool: they help, and an idle pool uses no CPU time. */
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";

test("a call of 8 threads starts 7 workers, which then sleep and use no CPU time", () => {
  if (!fs.existsSync("/proc/self/schedstat")) {
    process.stderr.write("not run: this kernel does not account the time of threads\n");
    return;
  }
  const script = path.join(import.meta.dir, "thread-pool-probe.ts");
  const { stdout, stderr } = Bun.spawnSync([process.execPath, script]);
  expect(stderr.toString()).toBe("");
  const { before, after } = JSON.parse(stdout.toString());
  expect(before.length).toBe(7);
  expect(after).toEqual(before);
});
