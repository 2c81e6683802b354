/**
 * Forge from npm over this folder: offline, with an empty HOME, so that neither a developer's
 * configuration nor a compiler in their cache can decide a test.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

/** The repository: forge's root, because libraries (node_modules) must lie inside it. */
export const ROOT = path.join(import.meta.dir, "..");
const FORGE = path.join(ROOT, "node_modules/@foundry-rs/forge-linux-amd64/bin/forge");

export interface ForgeResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface ForgeOptions {
  /** Another folder of the same shape: a mutated copy. */
  root?: string;
  /** Output goes on as it comes; the returned texts are empty. */
  show?: boolean;
  /** FOUNDRY_* variables: what has no flag. */
  environment?: Record<string, string>;
}

/**
 * Runs forge with `args`. Throws where the binary is missing.
 */
export async function forge(
  args: string[],
  { root = ROOT, show = false, environment = {} }: ForgeOptions = {},
): Promise<ForgeResult> {
  if (!fs.existsSync(FORGE)) {
    throw new Error(`forge is missing at ${FORGE}: run "npm run setup" (Linux on x86-64 only)`);
  }
  const config = path.join(root, "contracts/foundry.toml");
  const home = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-forge-home-"));
  try {
    const child = Bun.spawn([FORGE, ...args], {
      cwd: root,
      // No proxies, keys, FOUNDRY_* or FORGE_* from outside.
      env: {
        ...environment,
        PATH: process.env.PATH ?? "",
        HOME: home,
        NO_COLOR: "1",
        FOUNDRY_CONFIG: config,
      },
      stdin: "ignore",
      stdout: show ? "inherit" : "pipe",
      stderr: show ? "inherit" : "pipe",
    });
    const [stdout, stderr, code] = await Promise.all([
      show ? "" : new Response(child.stdout as ReadableStream).text(),
      show ? "" : new Response(child.stderr as ReadableStream).text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  } finally {
    fs.rmSync(home, { recursive: true, force: true });
  }
}
