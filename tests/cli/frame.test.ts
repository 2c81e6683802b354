/**
 * The command line's frame: strictness, errors, exit codes, help, streams. From source and
 * compiled.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { EXECUTABLES, errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
beforeAll(() => {
  home = makeHome();
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

describe.each(EXECUTABLES.map((e) => [e.name, e] as const))("%s", (_, executable) => {
  const run = (args: string[], options = {}) => magnet(executable, home, args, options);

  test("version for people: golden text", async () => {
    const { code, stdout, stderr } = await run(["version"]);
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: `magnet ${packageJson.version} (linux-x64, bun ${Bun.version})\n`,
      stderr: "",
    });
  });

  test("--version and -V are the version too", async () => {
    for (const flag of ["--version", "-V"])
      expect(await run([flag, "--json"])).toEqual(await run(["version", "--json"]));
  });

  test("version --json: shape", async () => {
    const outcome = await run(["version", "--json"]);
    expect(oneDocument(outcome)).toEqual({
      schema: "magnet.version/1",
      version: packageJson.version,
      platform: "linux-x64",
      bun: Bun.version,
      compiled: executable.name === "binary",
    });
  });

  test("version needs no native library and no configuration", async () => {
    // A broken configuration and a cache that cannot be written would both be fatal elsewhere.
    const env = { MAGNET_NODE_LISTEN: "nonsense", MAGNET_NO_MEMFD: "1", XDG_CACHE_HOME: "/proc/x" };
    expect((await run(["version"], { env })).code).toBe(0);
  });

  test.each([
    [["verison"], "UNKNOWN_COMMAND", "did you mean version?"],
    [["frobnicate"], "UNKNOWN_COMMAND", "--help"],
    [["config", "shwo"], "UNKNOWN_COMMAND", "did you mean show?"],
    [["version", "--jsno"], "UNKNOWN_FLAG", "did you mean --json?"],
    [["version", "-x"], "UNKNOWN_FLAG", "--help"],
    [["--frob", "version"], "UNKNOWN_FLAG", "--help"],
    [["version", "extra"], "SURPLUS_ARGUMENT", "--help"],
    [["version", "--", "--json"], "SURPLUS_ARGUMENT", "--help"],
    [["config", "get"], "MISSING_ARGUMENT", "--help"],
    [["config", "get", "a", "b"], "SURPLUS_ARGUMENT", "--help"],
    [["version", "--json=true"], "BAD_VALUE", "alone"],
    [["version", "--config"], "MISSING_VALUE", "--config PATH"],
    [["version", "--config", "--quiet"], "MISSING_VALUE", "--config PATH"],
    [["version", "--config="], "BAD_VALUE", "--config PATH"],
    [["version", "--config", "a", "--config", "b"], "FLAG_TWICE", "once"],
    [["config"], "MISSING_COMMAND", "show"],
    [["constructor"], "UNKNOWN_COMMAND", "--help"],
    [["version", "--__proto__"], "UNKNOWN_FLAG", "--help"],
  ])("%j is a usage error", async (args, code, hint) => {
    const plain = await run(args);
    expect(plain.code).toBe(2);
    expect(plain.stdout).toBe("");
    expect(plain.stderr).toStartWith(`${code}: `);
    expect(plain.stderr).toContain(hint);
    expect(plain.stderr.trimEnd()).not.toContain("\n"); // one line, no stack trace
  });

  test("the same under --json: one document, nothing on stderr", async () => {
    const outcome = await run(["version", "--frob", "--json"]);
    expect(outcome).toMatchObject({ code: 2, stderr: "" });
    expect(errorDocument(outcome)).toMatchObject({ code: "UNKNOWN_FLAG", retryable: false });
  });

  test("--verbose adds the trace", async () => {
    const outcome = await run(["config", "get", "node.lisen", "--verbose"]);
    expect(outcome.stderr).toMatch(/\n\s+at /);
    expect((await run(["config", "get", "node.lisen"])).stderr).not.toMatch(/\n\s+at /);
  });

  test("help is on stdout, for the tool, for groups and for every command", async () => {
    const bare = await run([]);
    const help = await run(["--help"]);
    expect(bare).toEqual(help);
    expect(help.code).toBe(0);
    const names = [...help.stdout.matchAll(/^ {2}([a-z]+) {2,}/gm)].map((match) => match[1]!);
    expect(names).toContain("version");
    for (const name of names) {
      const one = await run([name, "--help"]);
      expect(one).toMatchObject({ code: 0, stderr: "" });
      expect(one.stdout).toContain(`magnet ${name}`);
      expect(one.stdout).toContain("--json");
      if (!one.stdout.includes("\nCommands\n")) expect(one.stdout).toContain("\nExamples\n");
      expect((await run(["help", name])).stdout).toBe(one.stdout);
    }
  }, 60_000);

  test("a reader that goes away ends the command quietly", async () => {
    const line = `${executable.command.join(" ")} config show --json | head -c 20`;
    const child = Bun.spawn(["bash", "-c", `set -o pipefail; ${line}`], {
      env: { PATH: process.env.PATH!, HOME: home },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, errors] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    expect(out).toBe('{"schema":"magnet.co');
    expect(errors).toBe("");
    expect(await child.exited).toBe(0);
  });

  test("stdout closed from the start, and stderr closed", async () => {
    const text = executable.command.join(" ");
    const closed = Bun.spawnSync(
      ["bash", "-c", `${text} version >&-; ${text} frob 2>&-; echo $?`],
      {
        env: { PATH: process.env.PATH!, HOME: home },
      },
    );
    expect(closed.stdout.toString()).toBe("2\n");
  });

  test("a full disk behind stdout is an error, not silence", async () => {
    const text = executable.command.join(" ");
    const full = Bun.spawnSync(["bash", "-c", `${text} version > /dev/full`], {
      env: { PATH: process.env.PATH!, HOME: home },
    });
    expect(full.exitCode).toBe(1);
    expect(full.stderr.toString()).toStartWith("DISK_FULL: ");
  });

  test("HOME empty or unset: absolute folders and a note", async () => {
    const { code, stdout, stderr } = await run(["config", "path", "--json"], { env: { HOME: "" } });
    expect(code).toBe(0);
    expect(JSON.parse(stdout).data_dir).toStartWith("/");
    expect(stderr).toContain("HOME is not set");
  });

  test("doctor: golden shape of its lines, JSON shape, exit 1 where something fails", async () => {
    const plain = await run(["doctor"], { env: { MAGNET_NODE_LISTEN: "127.0.0.1:0" } });
    for (const line of plain.stdout.trimEnd().split("\n"))
      expect(line).toMatch(/^(ok {2}|warn|fail) [a-z]+ +\S.*$/);
    expect(plain.stdout).toMatch(/^ok {3}library {5}loaded from /m);
    expect(plain.stderr).toBe("");
    const blocked = await run(["doctor", "--json", "--data-dir", "/proc/nowhere"]);
    expect(blocked.code).toBe(1);
    const document = oneDocument(blocked) as {
      ok: boolean;
      checks: { name: string; status: string; value: string; fix: string | null }[];
    };
    expect(Object.keys(document)).toEqual(["schema", "ok", "checks"]);
    expect(document.ok).toBe(false);
    for (const check of document.checks) {
      expect(Object.keys(check)).toEqual(["name", "status", "value", "fix"]);
      expect(check.fix === null).toBe(check.status === "ok");
    }
    expect(document.checks.find(({ name }) => name === "disk")!.status).toBe("fail");
  });
});

test("doctor reports a configuration that does not load and goes on", async () => {
  const file = path.join(home, "bad.toml");
  fs.writeFileSync(file, "[node]\nlisen = 1\n");
  const outcome = await magnet(MAIN, home, ["doctor", "--config", file]);
  expect(outcome.code).toBe(1);
  expect(outcome.stdout).toMatch(
    /^fail config +CONFIG_UNKNOWN_KEY: .* -> did you mean node.listen\?$/m,
  );
  expect(outcome.stdout).toMatch(/^ok {3}library/m);
});

test("doctor: a port in use is a warning", async () => {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const env = { MAGNET_NODE_LISTEN: `127.0.0.1:${server.port}` };
  const { stdout } = await magnet(MAIN, home, ["doctor"], { env });
  server.stop();
  expect(stdout).toMatch(/^warn listen +127\.0\.0\.1:\d+ is in use -> /m);
});

test("NO_COLOR and a pipe give no escape codes", async () => {
  for (const env of [{}, { NO_COLOR: "1" }, { TERM: "dumb" }]) {
    const { stdout, stderr } = await magnet(MAIN, home, ["frob"], { env });
    expect(stdout + stderr).not.toContain("\x1b");
  }
});
