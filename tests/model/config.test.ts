/** Presets, limits and the arena layout that every other room relies on. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import {
  PRESETS,
  packModelConfig,
  paramCount,
  parseModelConfig,
  resolveModelConfig,
  tensorInfos,
} from "../../src/model/config.ts";
import { model } from "../../src/native/model.ts";

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof MagnetError) return error.code;
    throw error;
  }
  return "no error";
}

describe("presets", () => {
  test("genkidama-618m is the paper's size, with and without sub-norms", () => {
    expect(paramCount(PRESETS["genkidama-618m"]!)).toBe(618_285_056);
    expect(paramCount({ ...PRESETS["genkidama-618m"]!, variant: "llama" })).toBe(618_189_312);
  });
  test("sizes and export limits of the others", () => {
    expect(paramCount(PRESETS.demo!)).toBe(1_313_024);
    expect(paramCount(PRESETS.small!)).toBeGreaterThan(24e6);
    expect(paramCount(PRESETS.small!)).toBeLessThan(27e6);
    for (const [name, config] of Object.entries(PRESETS)) {
      expect(parseModelConfig(config)).toEqual(config);
      if (name === "tiny") continue;
      for (const t of tensorInfos(config).filter((t) => t.is_ternary)) expect(t.cols % 256).toBe(0);
    }
  });
});

describe("arena layout", () => {
  for (const variant of ["bitnet", "llama"] as const) {
    test(`${variant}: tensors cover the arena in order`, () => {
      const config = { ...PRESETS.tiny!, variant };
      const infos = tensorInfos(config);
      let next = 0;
      for (const t of infos) {
        expect(t.offset).toBe(next);
        next += t.rows * t.cols;
        expect(t.is_matrix).toBe(t.rows > 1);
        expect(t.is_ternary).toBe(/_proj\.weight$/.test(t.name));
      }
      expect(next).toBe(paramCount(config));
      expect(infos[0]!.name).toBe("model.embed_tokens.weight");
      expect(infos.at(-1)!.name).toBe("model.norm.weight");
      expect(infos.some((t) => t.name.includes("sub_norm"))).toBe(variant === "bitnet");
    });
  }
});

describe("bad configurations", () => {
  const base = PRESETS.tiny!;
  const bad: [string, Record<string, unknown>][] = [
    ["odd head_dim", { head_dim: 15 }],
    ["heads not divisible", { n_kv_heads: 3 }],
    ["zero layers", { n_layers: 0 }],
    ["huge width", { d_model: 2 ** 17 }],
    ["attention too wide", { n_heads: 512, n_kv_heads: 2, head_dim: 512 }],
    ["negative eps", { norm_eps: -1 }],
    ["theta not finite", { rope_theta: Number.POSITIVE_INFINITY }],
    ["unknown key", { n_experts: 8 }],
  ];
  for (const [name, change] of bad)
    test(`${name} is refused by the schema`, () => {
      expect(codeOf(() => parseModelConfig({ ...base, ...change }))).toBe("BAD_MODEL_CONFIG");
    });
  for (const [name, change] of bad.slice(0, -1))
    test(`${name} is refused by the library too`, () => {
      const packed = packModelConfig({ ...base, ...change } as typeof base);
      const code = codeOf(() => model.mg_model_param_count(packed, new BigUint64Array(1)));
      expect(["NATIVE_INVALID", "SHAPE_MISMATCH"]).toContain(code);
    });
});

describe("resolveModelConfig", () => {
  test("preset, overrides, file, and their errors", () => {
    expect(resolveModelConfig("tiny", { vocab_size: 300 }).vocab_size).toBe(300);
    expect(codeOf(() => resolveModelConfig("gigantic"))).toBe("UNKNOWN_PRESET");
    expect(codeOf(() => resolveModelConfig("tiny", { n_heads: 3 }))).toBe("BAD_MODEL_CONFIG");
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-config-"));
    try {
      const file = path.join(folder, "model.json");
      expect(codeOf(() => resolveModelConfig(file))).toBe("NOT_FOUND");
      fs.writeFileSync(file, "{");
      expect(codeOf(() => resolveModelConfig(file))).toBe("BAD_MODEL_CONFIG");
      const { rope_theta: _, ...withoutTheta } = PRESETS.tiny!;
      fs.writeFileSync(file, JSON.stringify(withoutTheta));
      expect(resolveModelConfig(file)).toEqual(PRESETS.tiny!);
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
