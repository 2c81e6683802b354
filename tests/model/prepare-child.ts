/**
 * Prepares a file made here of the wanted kind and size, and prints how far memory rose above what
 * a small file takes, in bytes.
 */
import fs from "node:fs";
import path from "node:path";
import { prepareData } from "../../src/model/data.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";

const [folder, kind, size] = process.argv.slice(2) as [string, "text" | "line" | "packed", string];
const status = (field: string) => {
  const text = fs.readFileSync("/proc/self/status", "utf8");
  return 1024 * Number(new RegExp(`${field}:\\s+(\\d+)`).exec(text)![1]);
};

/** About 1 MiB of paragraphs; `end` parts them. */
function block(end: string): string {
  const word = (i: number) => `w${((i * 7919) % 4001).toString(36)}`;
  const paragraph = (i: number) =>
    Array.from({ length: 60 }, (_, k) => word(i * 31 + k * k + i * k)).join(" ");
  let text = "";
  for (let i = 0; text.length < 2 ** 20; i++) text += `${paragraph(i)} 한국어 ${end}`;
  return text;
}

/** One text, or one JSON line, of about `bytes`; packed: gzip members of it. */
function make(file: string, bytes: number): void {
  const fd = fs.openSync(file, "w");
  const text = Buffer.from(block(kind === "line" ? "\\n\\n" : "\n\n"));
  const piece = kind === "packed" ? Bun.gzipSync(text) : text;
  if (kind === "line") fs.writeSync(fd, '{"id": 7, "text": "');
  for (let done = 0, i = 0; done < bytes; done += text.length, i++) {
    const mark = kind === "packed" ? Buffer.alloc(0) : Buffer.from(`${i} `); // no two alike
    for (const part of [mark, piece]) fs.writeSync(fd, part);
  }
  if (kind === "line") fs.writeSync(fd, '"}\n');
  fs.closeSync(fd);
}

const tokenizer = await Tokenizer.train([Buffer.from(block("\n\n"))], { vocab_size: 2000 });
const name = { text: "a.txt", line: "a.jsonl", packed: "a.txt.gz" }[kind];
const input = path.join(folder, name);
const out_dir = path.join(folder, "out");
let reports = 0;
const prepare = () =>
  prepareData({ inputs: [input], tokenizer, out_dir, onProgress: () => reports++ });
make(input, 4 * 2 ** 20);
await prepare();
const before = status("VmRSS");
make(input, Number(size));
const { train, heldout } = await prepare();
const text_bytes = train.text_bytes + heldout!.text_bytes;
process.stdout.write(
  `${JSON.stringify({ grown_bytes: status("VmHWM") - before, text_bytes, reports })}\n`,
);
