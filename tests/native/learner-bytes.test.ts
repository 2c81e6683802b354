/** Saved models from a peer: damaged, cut off and forged bytes are refused or predict within reason. */
import { expect, test } from "bun:test";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { LEARNERS } from "../../src/native/learner-types.ts";
import { binData, fit, loadLearner } from "../../src/native/learners.ts";
import { fitOptions, rings } from "./learner-data.ts";

/** FNV-1a of all but the last 8 bytes, written there: a forger's checksum is right. */
function sign(bytes: Uint8Array): Uint8Array {
  const end = bytes.length - 8;
  let hash = 0xcbf29ce484222325n;
  for (let i = 0; i < end; i++)
    hash = ((hash ^ BigInt(bytes[i]!)) * 0x100000001b3n) & (2n ** 64n - 1n);
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(end, hash, true);
  return bytes;
}

const code = (bytes: Uint8Array): string | undefined => {
  try {
    loadLearner(bytes).free();
  } catch (error) {
    return error instanceof MagnetError ? error.code : String(error);
  }
  return undefined;
};

for (const learner of LEARNERS)
  test(`${learner}: forged models are refused, or are walked without harm`, async () => {
    const { matrix, target } = rings(300, 3, 1);
    const data = await binData(matrix, { bins_max: 20 });
    const params = learner === "logistic" ? {} : { trees: 3, max_depth: 3 };
    const model = await fit(data, fitOptions(learner, 3, target, { params }));
    const saved = model.save();
    expect(code(sign(saved.slice()))).toBeUndefined();
    for (const at of [0, 9, 40, saved.length - 1]) {
      const damaged = saved.slice();
      damaged[at]! ^= 1;
      expect(code(damaged)).toBe("BAD_MODEL");
    }
    const seed = Number(process.env.FUZZ_SEED ?? 1);
    const random = seededRandom(seed);
    let walked = 0;
    for (let round = 0; round < 1500; round++) {
      let bytes = saved.slice();
      for (let flips = 1 + random.below(3); flips > 0; flips--) {
        const at = random.below(bytes.length - 8);
        const width = random.below(2) === 0 ? 1 : 4;
        const value = [0, 255, random.below(256)][random.below(3)]!;
        bytes.fill(value, at, Math.min(at + width, bytes.length - 8));
      }
      if (random.below(8) === 0) bytes = bytes.slice(0, 8 + random.below(bytes.length - 8));
      sign(bytes);
      const failure = code(bytes);
      if (failure !== undefined && failure !== "BAD_MODEL")
        throw new Error(`seed ${seed}, round ${round}: ${failure}`);
      if (failure !== undefined || round % 10 !== 0) continue;
      // What was taken must predict, or say why it cannot: its columns may be others now.
      const forged = loadLearner(bytes);
      try {
        await forged.predict(matrix, null, { threads: 1 });
        walked++;
      } catch (error) {
        if (!(error instanceof MagnetError)) throw error;
      }
      forged.free();
    }
    expect(walked).toBeGreaterThan(0);
  }, 60_000);

test("bytes of every length up to a head's are refused", () => {
  for (let length = 0; length < 64; length++) {
    expect(code(new Uint8Array(length))).toBe("BAD_MODEL");
    if (length >= 8) expect(code(sign(new Uint8Array(length)))).toBe("BAD_MODEL");
  }
});
