/** The demo's text: embedded public-domain documents, or the user's own with --data. */
import fs from "node:fs";
import path from "node:path";
import embeddedText from "../../../build/demo-text.json.gz" with { type: "file" };

export interface Document {
  name: string;
  bytes: Uint8Array;
}

/** Moby Dick by chapter and the State of the Union addresses, 12 MB of English. */
export async function embeddedCorpus(): Promise<Document[]> {
  const packed = new Uint8Array(await Bun.file(embeddedText).arrayBuffer());
  const documents = JSON.parse(new TextDecoder().decode(Bun.gunzipSync(packed))) as {
    name: string;
    text: string;
  }[];
  const encoder = new TextEncoder();
  return documents.map(({ name, text }) => ({ name, bytes: encoder.encode(text) }));
}

/**
 * The embedded text as JSONL in a folder, a file for each source; returns their paths. For what reads
 * files: language tasks and studies without texts of their own.
 */
export async function writeEmbeddedSources(folder: string): Promise<string[]> {
  const lines = new Map<string, string[]>();
  const decoder = new TextDecoder();
  for (const { name, bytes } of await embeddedCorpus()) {
    const source = path.dirname(name).replace(/^datasets-/, "");
    const own = lines.get(source) ?? [];
    own.push(JSON.stringify({ text: decoder.decode(bytes) }));
    lines.set(source, own);
  }
  fs.mkdirSync(folder, { recursive: true });
  return [...lines].map(([source, own]) => {
    const file = path.join(folder, `${source}.jsonl`);
    fs.writeFileSync(file, `${own.join("\n")}\n`);
    return file;
  });
}
