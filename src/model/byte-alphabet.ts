/**
 * GPT-2's byte alphabet: a printable character for each byte, in which tokenizer.json and GGUF
 * write tokens. Printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards.
 */
import { MagnetError } from "../core/errors.ts";

const isPrintable = (byte: number) =>
  (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;

/** The 256 bytes in the order of their characters: ids 0 to 255 of a trained vocabulary. */
export const BYTES_IN_ORDER: readonly number[] = (() => {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  return [...bytes.filter(isPrintable), ...bytes.filter((byte) => !isPrintable(byte))];
})();

const CHARACTERS: string[] = [];
const BYTES = new Map<string, number>();
let shifted = 0x100;
for (const byte of BYTES_IN_ORDER) {
  const character = String.fromCharCode(isPrintable(byte) ? byte : shifted++);
  CHARACTERS[byte] = character;
  BYTES.set(character, byte);
}

/** Bytes as text in the alphabet. */
export function toByteAlphabet(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += CHARACTERS[byte]!;
  return text;
}

/** The bytes that a text in the alphabet stands for; BAD_TOKENIZER on any other character. */
export function fromByteAlphabet(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const byte = BYTES.get(text[i]!);
    if (byte === undefined)
      throw new MagnetError(
        "BAD_TOKENIZER",
        `token ${JSON.stringify(text.slice(0, 40))} is not written in the byte alphabet`,
        { hint: "only byte-level BPE vocabularies are supported" },
      );
    bytes[i] = byte;
  }
  return bytes;
}
