/** The JSON in a model's answer, which may stand between words or in a fence. */

/** The first whole JSON object or list of a text that parses; undefined without one. */
export function jsonIn(text: string): unknown {
  for (let start = 0; start < text.length; start++) {
    if (text[start] !== "{" && text[start] !== "[") continue;
    const end = closingOf(text, start);
    if (end < 0) return undefined; // unclosed: what follows is inside of it
    try {
      return JSON.parse(text.slice(start, end + 1));
    } catch {
      start = end; // brackets in prose: the next ones may be JSON
    }
  }
  return undefined;
}

/** Where the bracket at `start` is closed, strings skipped; -1 where it is not. */
function closingOf(text: string, start: number): number {
  let depth = 0;
  let quoted = false;
  for (let i = start; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === "\\") i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === "{" || c === "[") depth++;
    else if ((c === "}" || c === "]") && --depth === 0) return i;
  }
  return -1;
}
