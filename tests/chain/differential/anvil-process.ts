/** anvil as a child process, under the embedded chain's rules, on a free port. */
import path from "node:path";

const BINARY = path.join(
  import.meta.dir,
  "../../../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil",
);

export interface Anvil {
  url: string;
  stop(): Promise<void>;
}

/** Starts it and waits until it listens. `base_fee` is that of its first block. */
export async function startAnvil(options: {
  base_fee: bigint;
  gas_limit: bigint;
  extra?: string[];
}): Promise<Anvil> {
  const child = Bun.spawn(
    [
      BINARY,
      ...["--hardfork", "cancun", "--port", "0", "--host", "127.0.0.1", "--order", "fifo"],
      ...["--gas-limit", options.gas_limit.toString()],
      ...["--block-base-fee-per-gas", options.base_fee.toString()],
      ...(options.extra ?? []),
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  const stop = async () => {
    child.kill("SIGKILL");
    await child.exited;
  };
  let text = "";
  const reader = child.stdout.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`anvil ended before it listened:\n${text}`);
    text += new TextDecoder().decode(value);
    const found = /Listening on (127\.0\.0\.1:\d+)/.exec(text);
    if (found === null) continue;
    void drain(reader);
    return { url: `http://${found[1]}`, stop };
  }
}

/** Reads on, so that a full pipe never holds it up. */
async function drain(reader: { read(): Promise<{ done: boolean }> }): Promise<void> {
  for (;;) if ((await reader.read()).done) return;
}
