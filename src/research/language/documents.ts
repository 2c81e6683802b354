/**
 * The texts of a language task by domain (the source that a text comes from), and the split of them
 * before anything else looks at them: by content, so that equal texts never lie on two sides.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { canonicalJson, sha256, sha256Hex, toHex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import { readParts } from "../../model/data.ts";

export interface LanguageDocument {
  /** Index into the corpus' domains. */
  readonly domain: number;
  /** UTF-8, not empty. */
  readonly bytes: Uint8Array;
}

export interface Corpus {
  readonly domains: readonly string[];
  readonly documents: readonly LanguageDocument[];
}

/** The parts of a corpus, document by document. */
export interface CorpusParts {
  /** What models are trained on during the search. */
  readonly train: readonly LanguageDocument[];
  /** Held out: what trials are scored on. */
  readonly search: readonly LanguageDocument[];
  readonly gate: readonly LanguageDocument[];
  readonly sealed: readonly LanguageDocument[];
}

export interface SplitShares {
  readonly search: number;
  readonly gate: number;
  readonly sealed: number;
}
/** Of the documents: training keeps most of them, and each part has enough for an interval. */
export const DEFAULT_SHARES: SplitShares = { search: 0.08, gate: 0.06, sealed: 0.1 };

/** Documents of a domain, at least: one for each part and one to learn from. */
const DOCUMENTS_MIN = 4;

/** The sources behind one path: a folder's subfolders are domains of their own. */
async function sourcesOf(given: string): Promise<{ name: string; inputs: string[] }[]> {
  const whole = [{ name: path.basename(path.resolve(given)), inputs: [given] }];
  const stat = await fs.stat(given).catch(() => null);
  if (!stat?.isDirectory()) return whole;
  const entries = await fs.readdir(given, { withFileTypes: true });
  const visible = entries.filter(({ name }) => !name.startsWith("."));
  const folders = visible.filter((entry) => entry.isDirectory());
  if (folders.length === 0) return whole;
  const inside = (name: string) => path.join(given, name);
  const loose = visible.filter((entry) => !entry.isDirectory()).map(({ name }) => inside(name));
  const sources = folders.map(({ name }) => ({ name, inputs: [inside(name)] }));
  const texts = loose.filter((file) => /\.(txt|text|md|jsonl|ndjson)(\.gz)?$/i.test(file));
  if (texts.length > 0) sources.push({ name: whole[0]!.name, inputs: texts.sort() });
  return sources.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Reads text, JSONL and folders of them; every path is a domain, or every subfolder of a path is one.
 * Throws NOT_FOUND, DATA_EMPTY, DATA_NOT_TEXT, DATA_BAD_JSON.
 */
export async function readCorpus(
  paths: readonly string[],
  options: { text_field?: string | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Corpus> {
  const texts: { domain: string; bytes: Uint8Array }[] = [];
  const { text_field, signal } = options;
  const reading = { text_field, ...(signal ? { signal } : {}) };
  for (const given of paths)
    for (const { name, inputs } of await sourcesOf(given))
      for (const { bytes } of await readParts(inputs, reading)) texts.push({ domain: name, bytes });
  return corpusOf(texts);
}

/** A name without its ending; dots would be taken for steps of a path in a configuration. */
const domainName = (name: string) => name.replace(/(?<=.)\.\w+$/, "").replaceAll(".", "_");

/** A corpus of texts in memory. Throws DATA_EMPTY. */
export function corpusOf(given: readonly { domain: string; bytes: Uint8Array }[]): Corpus {
  const texts = given.map(({ domain, bytes }) => ({ domain: domainName(domain), bytes }));
  const domains = [...new Set(texts.map(({ domain }) => domain))].sort();
  const filled = texts.filter(({ bytes }) => bytes.length > 0);
  if (filled.length === 0)
    throw new MagnetError("DATA_EMPTY", "there is no text", {
      hint: "name text files, JSONL files with a text field, or folders of them",
    });
  const documents = filled.map(({ domain, bytes }) => ({ domain: domains.indexOf(domain), bytes }));
  return { domains, documents };
}

/** SHA-256 over all documents in order of their content, and the domains' names. */
export function corpusHash({ domains, documents }: Corpus): Hash {
  const digests = documents.map(({ domain, bytes }) => `${domain}:${toHex(sha256(bytes))}`).sort();
  return sha256Hex(canonicalJson({ domains: [...domains], digests })) as Hash;
}

/** SHA-256 over the texts alone, in order of their content: the same under other names. */
export function textsHash({ documents }: Corpus): Hash {
  const digests = documents.map(({ bytes }) => toHex(sha256(bytes))).sort();
  return sha256Hex(canonicalJson(digests)) as Hash;
}

/** How many of `count` documents each held-out part gets; training keeps at least one. */
function sizesOf(count: number, shares: SplitShares): [number, number, number] {
  const of = (share: number) => Math.max(1, Math.round(share * count));
  return [of(shares.search), of(shares.gate), of(shares.sealed)];
}

/**
 * Splits every domain by the documents' hashes: the order of the files does not matter, copies count
 * once. Throws DATA_TOO_SMALL naming the domain that has too few documents.
 */
export function splitCorpus(
  corpus: Corpus,
  options: { seed: number; shares?: SplitShares },
): CorpusParts & { copies: number } {
  const { seed, shares = DEFAULT_SHARES } = options;
  const seen = new Set<string>();
  const parts = { train: [], search: [], gate: [], sealed: [] } as {
    [part in keyof CorpusParts]: LanguageDocument[];
  };
  for (const [index, name] of corpus.domains.entries()) {
    const keyed = corpus.documents
      .filter(({ domain }) => domain === index)
      .map((document) => ({ document, key: sha256Hex(`${seed}:`, document.bytes) }))
      .filter(({ key }) => !seen.has(key) && seen.add(key))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const ordered = keyed.map(({ document }) => document);
    if (ordered.length < DOCUMENTS_MIN)
      throw new MagnetError(
        "DATA_TOO_SMALL",
        `${name} has ${ordered.length} document(s), ${DOCUMENTS_MIN} are needed`,
        {
          hint: "give more documents of it (files, or lines of JSONL): some are held out to search, to check and to report",
        },
      );
    const [search, gate, sealed] = sizesOf(ordered.length, shares);
    parts.search.push(...ordered.splice(0, search));
    parts.gate.push(...ordered.splice(0, gate));
    parts.sealed.push(...ordered.splice(0, Math.min(sealed, ordered.length - 1)));
    parts.train.push(...ordered);
  }
  const used = parts.train.length + parts.search.length + parts.gate.length + parts.sealed.length;
  return { ...parts, copies: corpus.documents.length - used };
}
