/**
 * The text of an HTML page as blocks (paragraphs, headings, cells, listings), for the proof on real
 * text. Scripts, styles and navigation are left out, entities decoded, white space folded except in
 * <pre>. Made for the well-formed pages of Debian packages, not for the open web: it knows no
 * implied end tags, and an entity that it does not know is an error, never a guess.
 */

/** Elements whose whole content is not text of the page. */
const SKIPPED_ELEMENTS = new Set(
  "head script style noscript header footer aside nav button label select svg iframe".split(" "),
);
/**
 * Menus and lists of other pages by class or id: DocBook (nav*, toc), Publican (docnav, banner,
 * title), LibreOffice (relatedtopics; MAC is the hidden half of "Ctrl" or "Command").
 */
const SKIPPED_NAMES = new Set(
  "navheader navfooter toc docnav banner title relatedtopics MAC SearchFrame DonationFrame".split(
    " ",
  ),
);
/** Publican's id="title" is a banner, DocBook's class="title" is the page's heading. */
const SKIPPED_AS_ID_ONLY = new Set(["title"]);
const VOID_ELEMENTS = new Set("area base br col hr img input link meta wbr".split(" "));
const INLINE_ELEMENTS = new Set(
  "a abbr acronym b bdi cite code em font i img kbd q s small span strong sub sup tt u var wbr".split(
    " ",
  ),
);
const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: " ",
};

/** Comment, declaration, processing instruction, or tag with attributes (">" inside quotes). */
const MARKUP =
  /<!--[\s\S]*?-->|<![^>]*>|<\?[^>]*>|<(\/?)([a-zA-Z][a-zA-Z0-9:-]*)((?:"[^"]*"|'[^']*'|[^'">])*)>/g;

/** Decodes character references. Throws on a name that it does not know. */
export function decodeEntities(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-f]+)|#(\d+)|([a-z][a-z0-9]*));/gi,
    (all, hex, decimal, name) => {
      if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
      if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
      const known = ENTITIES[name];
      if (known === undefined) throw new Error(`unknown entity ${all}`);
      return known;
    },
  );
}

/** Whether an element is navigation by its class or id. */
function isNavigation(attributes: string): boolean {
  for (const [, kind, quoted] of attributes.matchAll(/\b(class|id)\s*=\s*["']([^"']*)["']/g))
    for (const name of quoted!.split(/\s+/))
      if (SKIPPED_NAMES.has(name) && (kind === "id" || !SKIPPED_AS_ID_ONLY.has(name))) return true;
  return false;
}

/** Gathers text into blocks. */
class Blocks {
  readonly blocks: string[] = [];
  private pending = "";
  private preformatted = 0;

  text(raw: string): void {
    const text = decodeEntities(raw);
    this.pending += this.preformatted > 0 ? text : text.replace(/[\s\u00a0]+/g, " ");
  }
  break(): void {
    const block =
      this.preformatted > 0
        ? this.pending.replace(/[ \t]+$/gm, "").replace(/^\n+|\n+$/g, "")
        : this.pending.replace(/ +/g, " ").trim();
    this.pending = "";
    // A block of marks alone (icons, bullets, "...") says nothing.
    if (/[\p{L}\p{N}]/u.test(block)) this.blocks.push(block);
  }
  line(): void {
    if (this.preformatted > 0) this.pending += "\n";
    else this.break();
  }
  enterPre(): void {
    this.break();
    this.preformatted++;
  }
  leavePre(): void {
    this.break();
    this.preformatted = Math.max(0, this.preformatted - 1);
  }
}

/** The blocks of a page, in order. */
export function htmlBlocks(html: string): string[] {
  const out = new Blocks();
  /** Element being skipped, and how many of its name are open inside. */
  let skipped: { name: string; depth: number } | null = null;
  let from = 0;
  for (const match of html.matchAll(MARKUP)) {
    if (skipped === null) out.text(html.slice(from, match.index));
    from = match.index + match[0].length;
    const name = match[2]?.toLowerCase();
    if (name === undefined) continue;
    const closes = match[1] === "/";
    const attributes = match[3]!;
    const stands_alone = VOID_ELEMENTS.has(name) || attributes.endsWith("/");
    if (skipped !== null) {
      if (name === skipped.name && !stands_alone) skipped.depth += closes ? -1 : 1;
      if (skipped.depth === 0) skipped = null;
      continue;
    }
    const skips = SKIPPED_ELEMENTS.has(name) || isNavigation(attributes);
    if (skips && !closes && !stands_alone) {
      if (!INLINE_ELEMENTS.has(name)) out.break();
      skipped = { name, depth: 1 };
    } else if (name === "br") out.line();
    else if (name === "pre") closes ? out.leavePre() : out.enterPre();
    else if (!INLINE_ELEMENTS.has(name)) out.break();
  }
  if (skipped === null) out.text(html.slice(from));
  out.break();
  return out.blocks;
}
