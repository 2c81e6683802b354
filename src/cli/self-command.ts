/** This program again, as a command: the compiled binary, or Bun with the entry point. */

export function selfCommand(): string[] {
  const compiled = import.meta.url.includes("/$bunfs/");
  return compiled ? [process.execPath] : [process.execPath, Bun.main];
}
