/**
 * The text of the proof: English, Korean and Japanese pages of five Debian packages (LibreOffice
 * help, the Debian handbook and installation guide), fetched with apt-get into a cache folder, one
 * JSONL document a page, never committed. A page is held out in all languages at once, by the hash
 * of its path, so that no translation of a held-out page is trained on.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { htmlBlocks } from "./html-text.ts";

export const LANGUAGES = ["en", "ko", "ja"] as const;
export type Language = (typeof LANGUAGES)[number];

export const PACKAGES = [
  "libreoffice-help-en-us",
  "libreoffice-help-ko",
  "libreoffice-help-ja",
  "debian-handbook",
  "installation-guide-amd64",
];
/** Where a language's pages lie in the unpacked packages. */
const HELP: Record<Language, string> = { en: "en-US", ko: "ko", ja: "ja" };
const HANDBOOK: Record<Language, string> = { en: "en-US", ko: "ko-KR", ja: "ja-JP" };
const NATIVE: Record<Language, RegExp | null> = {
  en: null,
  ko: /\p{Script=Hangul}/gu,
  ja: /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/gu,
};

/** Share of the pages held out. */
const HELDOUT_SHARE = 0.05;
/** A block on more than this share of a language's pages is boilerplate ("Syntax:", "Example:"). */
const BOILERPLATE_SHARE = 0.02;
/** A block of at least so many characters is kept once a language: repeats teach copying. */
const REPEAT_CHARS_MIN = 40;
/** Shorter pages are lists of links. */
const PAGE_BYTES_MIN = 300;
/** A Korean or Japanese page needs this share of its letters in its own script. */
const NATIVE_SHARE_MIN = 0.3;

interface Page {
  /** The same for all translations. */
  key: string;
  blocks: string[];
}
export interface PartSummary {
  documents: number;
  text_bytes: number;
  sha256: string;
}
export interface Corpus {
  packages: Record<string, string>;
  languages: Record<Language, { train: PartSummary; heldout: PartSummary }>;
}

const run = (command: string[], cwd: string) => {
  const done = Bun.spawnSync(command, { cwd, stdout: "pipe", stderr: "pipe" });
  if (done.success) return done.stdout.toString();
  throw new Error(`${command.join(" ")}: ${done.stderr.toString().trim()}`);
};

/** Downloads and unpacks what is not there yet; the version of each package. */
function fetchPackages(cache: string): Record<string, string> {
  const folder = path.join(cache, "packages");
  const unpacked = path.join(cache, "unpacked");
  fs.mkdirSync(folder, { recursive: true });
  const file = (name: string) => fs.readdirSync(folder).find((f) => f.startsWith(`${name}_`));
  const missing = PACKAGES.filter((name) => file(name) === undefined);
  if (missing.length > 0) run(["apt-get", "download", ...missing], folder);
  fs.mkdirSync(unpacked, { recursive: true });
  const versions: Record<string, string> = {};
  for (const name of PACKAGES) {
    const deb = path.join(folder, file(name)!);
    versions[name] = run(["dpkg-deb", "-f", deb, "Version"], folder).trim();
    run(["dpkg", "-x", deb, unpacked], folder);
  }
  return versions;
}

/** Pages of a language, sorted by key. Front pages and scripts' stand-ins hold no text. */
function readPages(unpacked: string, language: Language): Page[] {
  const share = path.join(unpacked, "usr/share");
  const sources: [name: string, root: string][] = [
    ["help", path.join(share, "libreoffice/help", HELP[language], "text")],
    ["handbook", path.join(share, "doc/debian-handbook/html", HANDBOOK[language])],
    ["guide", path.join(share, "doc/installation-guide-amd64", language)],
  ];
  return sources.flatMap(([source, root]) => {
    const names = [...new Bun.Glob("**/*.html").scanSync(root)].sort();
    if (names.length === 0) throw new Error(`${root} holds no pages`);
    return names.map((name) => ({
      key: `${source}/${name}`,
      blocks: htmlBlocks(fs.readFileSync(path.join(root, name), "utf8")),
    }));
  });
}

const isHeldout = (key: string) =>
  createHash("sha256").update(key).digest().readUInt32BE() < HELDOUT_SHARE * 2 ** 32;

/** Whether a page is in its language; much of the Korean handbook is not translated. */
function isNative(text: string, script: RegExp | null): boolean {
  if (script === null) return true;
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  return (text.match(script)?.length ?? 0) >= NATIVE_SHARE_MIN * letters;
}

/** False for a block that repeats the one before it: an icon's name and its label. */
const isNew = (block: string, i: number, blocks: readonly string[]) => block !== blocks[i - 1];

/**
 * Pages without boilerplate and repeats. Trained pages come first, so that a block in both is
 * missing from the held-out page. `foreign`: blocks of the English pages, which untranslated
 * passages of the other languages repeat.
 */
function clean(pages: Page[], language: Language, foreign: ReadonlySet<string>): Page[] {
  const pages_with = new Map<string, number>();
  for (const { blocks } of pages)
    for (const block of new Set(blocks)) pages_with.set(block, (pages_with.get(block) ?? 0) + 1);
  const common = Math.max(3, BOILERPLATE_SHARE * pages.length);
  const seen = new Set<string>();
  const keep = (block: string) => {
    if (pages_with.get(block)! > common) return false;
    if (block.length < REPEAT_CHARS_MIN) return true;
    if (foreign.has(block) || seen.has(block)) return false;
    seen.add(block);
    return true;
  };
  const ordered = [
    ...pages.filter(({ key }) => !isHeldout(key)),
    ...pages.filter(({ key }) => isHeldout(key)),
  ];
  return ordered
    .map(({ key, blocks }) => ({ key, blocks: blocks.filter(keep).filter(isNew) }))
    .filter(({ blocks }) => {
      const text = blocks.join("\n");
      return Buffer.byteLength(text) >= PAGE_BYTES_MIN && isNative(text, NATIVE[language]);
    });
}

/** Writes documents as JSONL. */
function writePart(file: string, pages: Page[]): PartSummary {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const texts = pages.map(({ blocks }) => `${blocks.join("\n")}\n`);
  const lines = texts.map((text) => `${JSON.stringify({ text })}\n`).join("");
  fs.writeFileSync(file, lines);
  return {
    documents: texts.length,
    text_bytes: texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
    sha256: createHash("sha256").update(lines).digest("hex"),
  };
}

export const trainFile = (cache: string, language: Language) =>
  path.join(cache, "text", language, "train.jsonl");
export const heldoutFile = (cache: string, language: Language) =>
  path.join(cache, "heldout", language, "heldout.jsonl");

/** Fetches and extracts everything. */
export function makeCorpus(cache: string): Corpus {
  const packages = fetchPackages(cache);
  const unpacked = path.join(cache, "unpacked");
  const pages = Object.fromEntries(
    LANGUAGES.map((language) => [language, readPages(unpacked, language)]),
  ) as Record<Language, Page[]>;
  const english = new Set(pages.en.flatMap(({ blocks }) => blocks));
  const languages = Object.fromEntries(
    LANGUAGES.map((language) => {
      const foreign = language === "en" ? new Set<string>() : english;
      const cleaned = clean(pages[language], language, foreign);
      const heldout = cleaned.filter(({ key }) => isHeldout(key));
      const train = cleaned.filter(({ key }) => !isHeldout(key));
      return [
        language,
        {
          train: writePart(trainFile(cache, language), train),
          heldout: writePart(heldoutFile(cache, language), heldout),
        },
      ];
    }),
  ) as Corpus["languages"];
  return { packages, languages };
}
