/** A real anvil on a free port, for one test. */
import fs from "node:fs";
import path from "node:path";

const BINARY = path.join(
  import.meta.dir,
  "../../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil",
);

/** npm has it for x86-64 Linux only; elsewhere tests say so and go without. */
export const hasAnvil = fs.existsSync(BINARY) && process.arch === "x64";
if (!hasAnvil) process.stderr.write(`no anvil at ${BINARY}: tests against it are left out\n`);

export interface Anvil {
  url: string;
  stop(): Promise<void>;
}

/** Starts anvil with the ledger's hardfork; `more` are further flags. */
export async function startAnvil(more: readonly string[] = []): Promise<Anvil> {
  const child = Bun.spawn([BINARY, "--port", "0", "--hardfork", "cancun", ...more], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const decoder = new TextDecoder();
  const reader = child.stdout.getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    text += decoder.decode(value, { stream: true });
    const port = /Listening on 127\.0\.0\.1:(\d+)/.exec(text)?.[1];
    if (port !== undefined) {
      // Read on, or the pipe fills and anvil stops.
      void (async () => {
        while (!(await reader.read()).done);
      })();
      const stop = async () => {
        child.kill("SIGKILL");
        await child.exited;
      };
      return { url: `http://127.0.0.1:${port}`, stop };
    }
    if (done) throw new Error(`anvil ended: ${text}`);
  }
}
