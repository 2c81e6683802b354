/**
 * Rounds of training together on a trainer's own arrays, on the CPU and in the emulation of a GPU,
 * against the codecs on arrays of JavaScript: every bit of what is sent, kept and merged.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { PRESETS } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { RoundArena } from "../../src/model/trainer-round.ts";
import * as codec from "../../src/native/codec.ts";
import { CPU, type Device } from "../../src/native/device.ts";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { rejection } from "../native/rejection.ts";

const RUN_TIMEOUT_MS = 120_000;
/** Small: emulated threads are slow. */
const config = { ...PRESETS.tiny!, vocab_size: 97, n_layers: 1, context: 16 };
const ROUNDS = 3;
const outer = { lr: 0.7, mu: 0.9 };
const weights = [0.25, 0.75] as const;

beforeAll(() => {
  useEmulation();
}, BUILD_TIMEOUT_MS);

const create = (device: Device) =>
  Trainer.create(config, { batch: 1, context: config.context, threads: 2, device });

async function read(trainer: Trainer, arena: RoundArena): Promise<Float32Array> {
  await trainer.pull(arena);
  return trainer.arena(arena).slice();
}

async function write(trainer: Trainer, arena: RoundArena, values: Float32Array): Promise<void> {
  trainer.arena(arena).set(values);
  await trainer.push(arena);
}

const errorCode = async (promise: Promise<unknown>) => {
  const error = await rejection(promise);
  return error instanceof MagnetError ? error.code : error;
};

describe.each([
  ["the CPU", CPU],
  ["the emulated GPU", { kind: "cuda", index: 0 }],
] as const)("on %s", (_, device) => {
  test.each(codec.DELTA_KINDS)(
    "rounds with %s give the codecs' bits",
    async (kind) => {
      const trainer = create(device);
      const n = trainer.param_count;
      const random = seededRandom(n);
      const { round } = trainer;
      await trainer.initialise(3n);
      await round.copy("params", "base");
      const base = await read(trainer, "base");
      expect(base).toEqual(await trainer.currentParams());
      const momentum = new Float32Array(n);
      const residual = new Float32Array(n);
      for (let i = 0; i < ROUNDS; i++) {
        const trained = base.map((x) => x + 1e-3 * (random.next() - 0.5));
        await trainer.setParams(trained);
        const delta = await codec.makeDelta(base, trained);
        const plain = await codec.compressDelta(delta, kind);
        expect(await round.compress(kind, { feedback: false })).toEqual(plain);
        const encoded = await codec.compressDelta(delta, kind, { residual });
        expect(await round.compress(kind, { feedback: true })).toEqual(encoded);
        expect(await read(trainer, "residual")).toEqual(residual);
        const sum = new Float32Array(n);
        for (const [j, bytes] of [plain, encoded].entries()) {
          const { delta: decoded } = await codec.decompressDelta(bytes, n);
          await codec.accumulateDelta(sum, decoded, weights[j]!);
          expect(await round.isPseudoGradient(bytes)).toBe(true);
          await round.add(bytes, weights[j]!);
        }
        expect(await read(trainer, "sum")).toEqual(sum);
        await codec.outerStep(base, momentum, sum, outer);
        await round.step(outer);
        expect(await read(trainer, "base")).toEqual(base);
        expect(await read(trainer, "outer_momentum")).toEqual(momentum);
        expect((await read(trainer, "sum")).every((x) => x === 0)).toBe(true);
        await round.release("sum");
        expect(await trainer.currentParams()).toEqual(trained);
        await round.copy("base", "params");
        expect(await trainer.currentParams()).toEqual(base);
      }
      trainer.close();
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "what is refused changes nothing",
    async () => {
      const trainer = create(device);
      const n = trainer.param_count;
      const { round } = trainer;
      await trainer.initialise(4n);
      await round.copy("params", "base");
      expect(await errorCode(round.step(outer))).toBe("NATIVE_INVALID");
      const bytes = await codec.compressDelta(new Float32Array(n).fill(0.5), "int4");
      await round.add(bytes, 1);
      const sum = await read(trainer, "sum");
      for (const bad of [bytes.subarray(1), bytes.slice(0, -1), bytes.with(24 + 3, 0xff)]) {
        expect(await round.isPseudoGradient(bad)).toBe(false);
        expect(await errorCode(round.add(bad, 1))).toBe("BAD_FORMAT");
      }
      expect(await errorCode(round.add(bytes, Number.NaN))).toBe("NOT_A_NUMBER");
      expect(await errorCode(round.add(bytes, 1, AbortSignal.abort()))).toBe("CANCELLED");
      expect(await read(trainer, "sum")).toEqual(sum);
      await write(trainer, "sum", sum.with(n - 1, 3e38));
      expect(await errorCode(round.step({ lr: 9, mu: 0.9 }))).toBe("NOT_A_NUMBER");
      expect(await read(trainer, "base")).toEqual(await trainer.currentParams());
      expect((await read(trainer, "outer_momentum")).every((x) => x === 0)).toBe(true);
      const base = await read(trainer, "base");
      await write(trainer, "base", base.with(n - 1, 1e6));
      const sent = round.compress("fp16", { feedback: true });
      expect(await errorCode(sent)).toBe("NOT_A_NUMBER");
      expect((await read(trainer, "residual")).every((x) => x === 0)).toBe(true);
      trainer.close();
    },
    RUN_TIMEOUT_MS,
  );
});
