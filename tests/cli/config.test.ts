/** `magnet config` as a user runs it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
beforeAll(() => {
  home = makeHome();
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const run = (args: string[], env: Record<string, string> = {}) => magnet(MAIN, home, args, { env });

test("flags > environment > file > default", async () => {
  const file = path.join(home, "one.toml");
  fs.writeFileSync(file, '[node]\ndata_dir = "/from-file"\n');
  const value = async (args: string[], env: Record<string, string> = {}) =>
    oneDocument(await run(["config", "get", "node.data_dir", "--json", ...args], env));
  const schema = "magnet.config_get/1";
  const key = "node.data_dir";
  expect(await value([])).toEqual({
    schema,
    key,
    value: path.join(home, ".local/share/magnet"),
    origin: "default",
  });
  const config = ["--config", file];
  expect(await value(config)).toEqual({ schema, key, value: "/from-file", origin: "file" });
  const env = { MAGNET_NODE_DATA_DIR: "/from-env" };
  expect(await value(config, env)).toMatchObject({ value: "/from-env", origin: "environment" });
  expect(await value([...config, "--data-dir", "/flag"], env)).toMatchObject({
    value: "/flag",
    origin: "flag",
  });
});

test("set, then get; the file is private and keeps what was there", async () => {
  const set = await run(["config", "set", "node.max_disk", "50GiB", "--json"]);
  const file = path.join(home, ".config/magnet/config.toml");
  expect(oneDocument(set)).toEqual({
    schema: "magnet.config_set/1",
    key: "node.max_disk",
    value: 50 * 2 ** 30,
    file,
  });
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  await run(["config", "set", "network.peers", "wss://a:1,wss://b:2"]);
  expect((await run(["config", "get", "node.max_disk"])).stdout).toBe("53687091200\n");
  expect((await run(["config", "get", "network.peers"])).stdout).toBe(
    '["wss://a:1","wss://b:2"]\n',
  );
});

test("an empty text empties a list", async () => {
  await run(["config", "set", "network.peers", ""]);
  expect((await run(["config", "get", "network.peers"])).stdout).toBe("[]\n");
});

test("set writes to a --config file that does not exist yet", async () => {
  const file = path.join(home, "deep/er/new.toml");
  expect((await run(["config", "set", "log.level", "debug", "--config", file])).code).toBe(0);
  expect(fs.readFileSync(file, "utf8")).toBe('[log]\nlevel = "debug"\n');
});

test("refusals: exit 3, one line, nothing written", async () => {
  const before = fs.readdirSync(path.join(home, ".config/magnet"));
  const bad = await run(["config", "set", "node.listen", "no-port", "--json"]);
  expect(bad.code).toBe(3);
  expect(errorDocument(bad).code).toBe("CONFIG_BAD_VALUE");
  const unknown = await run(["config", "get", "node.lisen"]);
  expect(unknown.code).toBe(3);
  expect(unknown.stderr).toContain("did you mean node.listen?");
  expect(fs.readdirSync(path.join(home, ".config/magnet"))).toEqual(before);
});

test("bad TOML names file and line; a missing --config file is an error", async () => {
  const file = path.join(home, "bad.toml");
  fs.writeFileSync(file, "[node]\nlisten = \n");
  const bad = await run(["config", "check", file]);
  expect(bad.code).toBe(3);
  expect(bad.stderr).toStartWith("CONFIG_BAD_TOML: ");
  expect(bad.stderr).toContain(file);
  const missing = await run(["config", "show", "--config", path.join(home, "none.toml")]);
  expect(missing.code).toBe(3);
  expect(missing.stderr).toStartWith("NOT_FOUND: ");
});

test("check and show: JSON shapes", async () => {
  const env = { HOME: path.join(home, "fresh") };
  const check = oneDocument(await run(["config", "check", "--json"], env));
  expect(Object.keys(check)).toEqual(["schema", "ok", "file", "changed"]);
  expect(check).toMatchObject({ ok: true, file: null, changed: 0 });
  const show = oneDocument(await run(["config", "show", "--json"], env)) as {
    settings: Record<string, unknown>[];
  };
  for (const setting of show.settings)
    expect(Object.keys(setting)).toEqual(["key", "value", "origin", "env", "description"]);
  const text = (await run(["config", "show", "--origin"], env)).stdout;
  expect(text.split("\n")[0]).toMatch(/^setting +value +from +meaning$/);
  expect(oneDocument(await run(["config", "path", "--json"], env))).toEqual({
    schema: "magnet.config_path/1",
    config_file: path.join(env.HOME, ".config/magnet/config.toml"),
    config_file_exists: false,
    data_dir: path.join(env.HOME, ".local/share/magnet"),
    cache_dir: path.join(env.HOME, ".cache/magnet"),
    note: null,
  });
});
