/** `magnet chain host` as a child process, on a free port, until it is stopped or killed. */
import fs from "node:fs";
import path from "node:path";
import { MAIN } from "../cli/magnet.ts";

export interface HostProcess {
  url: string;
  /** Milliseconds from the start of the process until it answered. */
  started_ms: number;
  kill(signal: "SIGKILL" | "SIGTERM"): Promise<number>;
}

/** Starts it and waits for its ready file. `folder` is its HOME and its data folder. */
export async function startHost(
  folder: string,
  args: string[] = [],
  command: string[] = MAIN.command,
): Promise<HostProcess> {
  const ready = path.join(folder, "ready.json");
  fs.rmSync(ready, { force: true });
  const began = performance.now();
  const child = Bun.spawn(
    [
      ...command,
      ...["chain", "host", "--listen", "127.0.0.1:0", "--data-dir", folder],
      ...["--ready-file", ready, ...args],
    ],
    {
      env: { HOME: folder, PATH: "/usr/bin:/bin" },
      ...({ stdin: "ignore", stdout: "ignore", stderr: "pipe" } as const),
    },
  );
  const watcher = fs.watch(folder);
  try {
    const there = new Promise<void>((resolve) => {
      watcher.on("change", () => fs.existsSync(ready) && resolve());
      if (fs.existsSync(ready)) resolve();
    });
    await Promise.race([there, child.exited]);
  } finally {
    watcher.close();
  }
  if (child.exitCode !== null)
    throw new Error(`chain host ended: ${await new Response(child.stderr).text()}`);
  const { url } = JSON.parse(fs.readFileSync(ready, "utf8")) as { url: string };
  return {
    ...{ url, started_ms: performance.now() - began },
    async kill(signal) {
      child.kill(signal);
      return await child.exited;
    },
  };
}
