/**
 * The compiled binary as a user has it: a copy in a folder of its own, an empty HOME, a bare
 * environment. Where the system lets us, it runs in a mount namespace in which the repository is an
 * empty folder.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const repository = path.join(import.meta.dir, "../..");
/** Limit of one command unless a test says otherwise; most take a few seconds. */
const COMMAND_LIMIT_MS = 60_000;

/** `unshare` with a mount namespace: plainly for root, through a user namespace for others. */
function namespaceCommand(): string[] | undefined {
  const flags = process.getuid?.() === 0 ? "-m" : "-rm";
  const works = Bun.which("unshare") && Bun.spawnSync(["unshare", flags, "true"]).exitCode === 0;
  return works ? ["unshare", flags] : undefined;
}
/** What starts a command in a mount namespace of its own; undefined where the system forbids it. */
export const NAMESPACE = namespaceCommand();
if (!NAMESPACE)
  process.stderr.write(
    "e2e: no mount namespaces here: the repository stays visible, full disks are not tried\n",
  );

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}
export interface RunOptions {
  stdin?: string;
  env?: Record<string, string>;
  /** Shell commands in front, in the command's own mount namespace; needs NAMESPACE. */
  prelude?: string;
  limit_ms?: number;
}

/** A fresh folder with the binary in it. */
export class Place {
  readonly folder: string;
  readonly binary: string;
  readonly env: Record<string, string>;

  constructor() {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-e2e-"));
    this.binary = this.at("magnet");
    const built = path.join(repository, "dist/magnet");
    if (!fs.existsSync(built)) throw new Error("dist/magnet is missing: npm test builds it first");
    fs.copyFileSync(built, this.binary);
    fs.chmodSync(this.binary, 0o755);
    fs.mkdirSync(this.at("home"));
    this.env = { HOME: this.at("home"), PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  }

  at(...parts: string[]): string {
    return path.join(this.folder, ...parts);
  }

  remove(): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  start(args: string[], options: RunOptions = {}) {
    const { stdin = "", env = {}, prelude, limit_ms = COMMAND_LIMIT_MS } = options;
    const hide = fs.realpathSync(repository);
    const script = `${prelude ?? `mount -t tmpfs none "${hide}"`} && exec "$@"`;
    const front = NAMESPACE ? [...NAMESPACE, "sh", "-c", script, "sh"] : [];
    return Bun.spawn([...front, this.binary, ...args], {
      cwd: this.folder,
      env: { ...this.env, ...env },
      stdin: new TextEncoder().encode(stdin),
      stdout: "pipe",
      stderr: "pipe",
      timeout: limit_ms,
      killSignal: "SIGKILL",
    });
  }

  async run(args: string[], options: RunOptions = {}): Promise<Outcome> {
    const child = this.start(args, options);
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  }

  /** The last JSON document of a run that succeeds. */
  async json(args: string[], options: RunOptions = {}): Promise<Record<string, unknown>> {
    const outcome = await this.run([...args, "--json"], options);
    if (outcome.code !== 0) throw new Error(`${args.join(" ")}: ${JSON.stringify(outcome)}`);
    return JSON.parse(outcome.stdout.trimEnd().split("\n").at(-1)!) as Record<string, unknown>;
  }

  /**
   * Runs a command that must fail and returns its code and exit code, after checking the report:
   * one line `CODE: what. Hint: what to do` at the end of stderr, no trace, nothing on stdout.
   */
  async failure(args: string[], options: RunOptions = {}): Promise<{ code: string; exit: number }> {
    const { code: exit, stdout, stderr } = await this.run(args, options);
    const lines = stderr.trimEnd().split("\n");
    const errors = lines.filter((line) => /^[A-Z][A-Z0-9_]+: /.test(line));
    const code = /^([A-Z][A-Z0-9_]+): \S.* Hint: \S/.exec(lines.at(-1)!)?.[1];
    const clean = errors.length === 1 && !/^\s+at /m.test(stderr) && stdout === "" && exit > 0;
    if (!clean || code === undefined || code === "INTERNAL")
      throw new Error(
        `${args.join(" ")}: not one clear error: ${JSON.stringify([exit, stdout, stderr])}`,
      );
    return { code, exit };
  }
}

/** The smallest shape that the ternary formats of llama.cpp hold. */
export const MODEL = {
  variant: "bitnet",
  vocab_size: 400,
  d_model: 256,
  n_layers: 1,
  n_heads: 4,
  n_kv_heads: 2,
  head_dim: 64,
  d_ff: 256,
  context: 32,
};

/** About 20 KiB of text with enough different words; no word list of others is copied. */
export function sampleText(): string {
  const words = Array.from({ length: 3000 }, (_, i) => `w${(i * 7919) % 997}x${i % 13}`);
  const lines = Array.from({ length: 300 }, (_, i) => words.slice(i * 10, i * 10 + 10).join(" "));
  return `${lines.join("\n\n")}\n`;
}

/** A place with text.txt, model.json, a trained run/ of 20 steps and its m.gguf. */
export async function trainedPlace(): Promise<Place> {
  const place = new Place();
  fs.writeFileSync(place.at("text.txt"), sampleText());
  fs.writeFileSync(place.at("model.json"), JSON.stringify(MODEL));
  const train = ["train", "--model", "model.json", "--data", "text.txt", "--out", "run"];
  await place.json([...train, "--steps", "20", "--batch", "4"]);
  await place.json(["export", "gguf", "run", "--type", "tq2_0", "--out", "m.gguf"]);
  return place;
}
