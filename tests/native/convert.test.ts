/** Float formats of weights: every value of the small formats, and what is no finite number. */
import { expect, test } from "bun:test";
import { type FloatFormat, floatsFrom } from "../../src/native/convert.ts";
import { rejection } from "./rejection.ts";

const patterns = Uint16Array.from({ length: 65_536 }, (_, i) => i);
const bitsOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;

/** float32 bits of a pattern, by another way than the library's. */
const expectedBits = {
  F16: (i: number) => bitsOf(new DataView(Uint16Array.of(i).buffer).getFloat16(0, true)),
  BF16: (i: number) => (i << 16) >>> 0,
};
const hasValue = {
  F16: (i: number) => (i & 0x7c00) !== 0x7c00,
  BF16: (i: number) => (i & 0x7f80) !== 0x7f80,
};

test.each(["F16", "BF16"] as const)(
  "every finite %s value is exact, bit for bit",
  async (format) => {
    const finite = patterns.filter((i) => hasValue[format](i));
    const target = new Float32Array(finite.length);
    await floatsFrom(format, new Uint8Array(finite.buffer), target);
    expect(new Uint32Array(target.buffer)).toEqual(
      Uint32Array.from(finite, (i) => expectedBits[format](i)),
    );
  },
);

test("float32 stays as it is, also in place", async () => {
  const values = Float32Array.of(0, -0, 1e-45, -1.5, 3.4e38);
  const before = new Uint32Array(values.buffer.slice(0));
  await floatsFrom("F32", new Uint8Array(values.buffer), values);
  expect(new Uint32Array(values.buffer)).toEqual(before);
});

test.each([
  ["F32", new Uint8Array(Float32Array.of(1, 2, Number.NaN).buffer)],
  ["F16", new Uint8Array(Uint16Array.of(0, 0, 0x7c00).buffer)],
  ["BF16", new Uint8Array(Uint16Array.of(0, 0, 0xff80).buffer)],
] as [FloatFormat, Uint8Array][])("%s: NaN and infinity are refused", async (format, bytes) => {
  const error = await rejection(floatsFrom(format, bytes, new Float32Array(3)));
  expect(error).toMatchObject({ code: "NOT_A_NUMBER", message: "value 2 is no finite number" });
});
