/**
 * Configuration: precedence, origins, refusals with the nearest name, editing that keeps comments.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { type ConfigSources, loadConfig, settingOf } from "../../src/core/config.ts";
import { setInFile } from "../../src/core/config-file.ts";
import { SETTINGS } from "../../src/core/config-schema.ts";
import type { MagnetError } from "../../src/core/errors.ts";

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-config-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

const write = (text: string) => {
  const file = path.join(folder, `${crypto.randomUUID()}.toml`);
  fs.writeFileSync(file, text);
  return file;
};
const load = (sources: Partial<ConfigSources> = {}) =>
  loadConfig({ ...sources, env: { HOME: folder, ...sources.env } });
const failure = (run: () => unknown): MagnetError => {
  try {
    run();
  } catch (error) {
    return error as MagnetError;
  }
  throw new Error("it did not fail");
};

describe("precedence", () => {
  test("flags > environment > file > defaults, with the origin of each", () =>
    fc.assert(
      fc.property(
        fc.option(fc.integer({ min: 1, max: 99 }), { nil: undefined }),
        fc.option(fc.integer({ min: 100, max: 199 }), { nil: undefined }),
        fc.option(fc.integer({ min: 200, max: 299 }), { nil: undefined }),
        (inFile, inEnv, inFlag) => {
          const file = write(
            inFile === undefined ? "" : `[training]\ncheckpoint_every = ${inFile}\n`,
          );
          const config = load({
            config_path: file,
            env: inEnv === undefined ? {} : { MAGNET_TRAINING_CHECKPOINT_EVERY: String(inEnv) },
            flags: { "training.checkpoint_every": inFlag },
          });
          expect(config.values.training.checkpoint_every).toBe(inFlag ?? inEnv ?? inFile ?? 100);
          const origin =
            inFlag !== undefined
              ? "flag"
              : inEnv !== undefined
                ? "environment"
                : inFile !== undefined
                  ? "file"
                  : "default";
          expect(config.origins.get("training.checkpoint_every")).toBe(origin);
          expect(config.origins.get("log.level")).toBe("default");
        },
      ),
      { seed: 11, numRuns: 60 },
    ));

  test("every setting has a working default and a description", () => {
    const { values } = load();
    for (const { section, name, description } of SETTINGS) {
      expect((values[section] as Record<string, unknown>)[name]).toBeDefined();
      expect(description.length).toBeGreaterThan(8);
    }
  });

  test("an empty variable counts as unset; other programs' variables are not looked at", () => {
    const { values } = load({ env: { MAGNET_NODE_LISTEN: "", PATH: "/bin", MAGNETIC: "1" } });
    expect(values.node.listen).toBe("0.0.0.0:7700");
  });

  test("text from the environment becomes the kind the setting has", () => {
    const { values } = load({
      env: {
        MAGNET_NETWORK_PEERS: "wss://a:1, wss://b:2",
        MAGNET_NODE_MAX_DISK: "1.5GiB",
        MAGNET_NODE_TIER: "gpu",
        MAGNET_TRAINING_CHECKPOINT_EVERY: "50",
      },
    });
    expect(values.network.peers).toEqual(["wss://a:1", "wss://b:2"]);
    expect(values.node.max_disk).toBe(1.5 * 2 ** 30);
    expect(values.node.tier).toBe("gpu_compute");
    expect(values.training.checkpoint_every).toBe(50);
  });
});

describe("refusals end with exit `config` and say what was meant", () => {
  test.each([
    ["[node]\nlisen = 'x'\n", "CONFIG_UNKNOWN_KEY", "node.listen"],
    ["[nod]\nlisten = 'x'\n", "CONFIG_UNKNOWN_KEY", "node"],
    ["node = 3\n", "CONFIG_BAD_VALUE", "[node]"],
    ["[node]\nlisten = '1.2.3.4'\n", "CONFIG_BAD_VALUE", "node.listen"],
    ["[node]\nlisten = '1.2.3.4:99999'\n", "CONFIG_BAD_VALUE", "node.listen"],
    ["[training]\ncheckpoint_every = 0\n", "CONFIG_BAD_VALUE", "training.checkpoint_every"],
    ["[round]\ninner_steps = 9\n", "CONFIG_UNKNOWN_KEY", "round"],
    ["[network]\npeers = ['http://a']\n", "CONFIG_BAD_VALUE", "network.peers"],
    ['[node]\ndata_dir = "a\\u0001b"\n', "CONFIG_BAD_VALUE", "node.data_dir"],
    ["[node\nlisten = 1", "CONFIG_BAD_TOML", "listen ="],
  ])("%j", (text, code, hint) => {
    const error = failure(() => load({ config_path: write(text) }));
    expect(error.code).toBe(code);
    expect(error.exit).toBe("config");
    expect(`${error.message} ${error.hint}`).toContain(hint);
  });

  test("an unknown variable", () => {
    const error = failure(() => load({ env: { MAGNET_NODE_LISEN: "x" } }));
    expect(error).toMatchObject({ code: "CONFIG_UNKNOWN_KEY", exit: "config" });
    expect(error.hint).toContain("MAGNET_NODE_LISTEN");
  });

  test("names of Object.prototype are no settings", () => {
    for (const key of ["constructor", "__proto__", "node.toString", "node.constructor"])
      expect(failure(() => settingOf(key)).code).toBe("CONFIG_UNKNOWN_KEY");
    expect(failure(() => load({ config_path: write("[node]\n__proto__ = 1\n") })).exit).toBe(
      "config",
    );
  });

  test("a file that is missing, a folder, binary or huge", () => {
    const binary = path.join(folder, "binary.toml");
    fs.writeFileSync(binary, new Uint8Array([0xff, 0xfe, 0x00, 0x80]));
    const huge = path.join(folder, "huge.toml");
    fs.writeFileSync(huge, "#".repeat(2 << 20));
    const codes = [path.join(folder, "none.toml"), folder, binary, huge].map((config_path) => {
      const error = failure(() => load({ config_path }));
      expect(error.exit).toBe("config");
      return error.code;
    });
    expect(codes).toEqual(["NOT_FOUND", "NOT_A_FILE", "CONFIG_NOT_TEXT", "FILE_TOO_LARGE"]);
  });
});

describe("setInFile", () => {
  test("keeps comments and the other settings", () => {
    const file = write(
      "# mine\n[node]\n# where\nlisten = '1.1.1.1:1' # old\ntier = 'cpu'\n\n[log]\n",
    );
    setInFile(file, settingOf("node.listen"), "2.2.2.2:2");
    setInFile(file, settingOf("log.level"), "debug");
    setInFile(file, settingOf("training.threads"), 3);
    expect(fs.readFileSync(file, "utf8")).toBe(
      '# mine\n[node]\n# where\nlisten = "2.2.2.2:2"\ntier = \'cpu\'\n\n[log]\nlevel = "debug"\n\n[training]\nthreads = 3\n',
    );
    const { values } = load({ config_path: file });
    expect(values.node).toMatchObject({ listen: "2.2.2.2:2", tier: "cpu_only" });
  });

  test("any text survives being written and read", () =>
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), (text) => {
        fc.pre(!/\p{Cc}/u.test(text) && text.isWellFormed());
        const file = write("");
        setInFile(file, settingOf("network.file"), text);
        expect(load({ config_path: file }).values.network.file).toBe(text);
      }),
      { seed: 5, numRuns: 60 },
    ));

  test("a layout it cannot edit is refused and left alone", () => {
    const text = "[network]\npeers = [\n  'wss://a:1',\n]\n";
    const file = write(text);
    const error = failure(() => setInFile(file, settingOf("network.peers"), ["wss://b:2"]));
    expect(error).toMatchObject({ code: "CONFIG_NOT_EDITABLE", exit: "config" });
    expect(fs.readFileSync(file, "utf8")).toBe(text);
  });

  test("a bad value is refused before anything is written", () => {
    const file = path.join(folder, "never", "config.toml");
    expect(failure(() => setInFile(file, settingOf("node.listen"), "x")).code).toBe(
      "CONFIG_BAD_VALUE",
    );
    expect(fs.existsSync(path.dirname(file))).toBe(false);
  });
});
