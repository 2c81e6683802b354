/**
 * What thread-pool.test.ts looks at, in a process of its own: the GPU's library has a pool too, and
 * its workers have the same name. One JSON line.
 */
import fs from "node:fs";
import { ops } from "../../src/native/ops.ts";

/** [thread id, state letter, nanoseconds on a CPU] of the pool's workers in this process. */
function workers(): [string, string, number][] {
  return fs.readdirSync("/proc/self/task").flatMap((id) => {
    const folder = `/proc/self/task/${id}`;
    if (fs.readFileSync(`${folder}/comm`, "utf8").trim() !== "magnet-pool") return [];
    const state = /^State:\s+(\S)/m.exec(fs.readFileSync(`${folder}/status`, "utf8"))![1]!;
    const time = Number(fs.readFileSync(`${folder}/schedstat`, "utf8").split(" ")[0]);
    return [[id, state, time] as [string, string, number]];
  });
}

function multiply(threads: number, size: number) {
  const [a, b] = [new Float32Array(size * size), new Float32Array(size * size)];
  ops.mg_op_gemm(threads, size, size, size, a, 0, b, 0, 0, new Float32Array(size * size));
}

/** Resolves when every worker sleeps; the test's time limit ends a wait in vain. */
async function allAsleep() {
  while (!workers().every(([, state]) => state === "S")) await new Promise(setImmediate);
}

for (let i = 0; i < 20; i++) multiply(8, 256);
await allAsleep();
const before = workers();
multiply(1, 1500);
process.stdout.write(`${JSON.stringify({ before, after: workers() })}\n`);
