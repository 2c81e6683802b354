/**
 * Who may speak through a browser. A page of any site can make a browser send requests to this
 * machine: so a request that names an origin must come from the server's own pages or from the
 * allow-list, and a server on a loopback address answers only to loopback names, because another
 * site's name can be made to point here (DNS rebinding).
 */
import { MagnetError } from "../../core/errors.ts";

/** Whether a listening address, or the name part of a Host header, is this machine alone. */
export function isLoopback(host: string): boolean {
  const name = host
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
  if (name === "localhost" || name.endsWith(".localhost") || name === "::1") return true;
  return /^127(\.\d{1,3}){3}$/.test(name) || /^::ffff:127(\.\d{1,3}){3}$/.test(name);
}

/** The name in a Host header, without its port; undefined where it is no such thing. */
export function hostName(header: string): string | undefined {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/.exec(header);
  return match?.[1];
}

/** Throws BAD_ORIGIN unless every entry is `*` or an origin as browsers write it. */
export function checkOrigins(origins: readonly string[]): void {
  for (const origin of origins) {
    if (origin === "*") continue;
    const valid = URL.canParse(origin) && new URL(origin).origin === origin;
    if (!valid)
      throw new MagnetError("BAD_ORIGIN", `${JSON.stringify(origin)} is no origin`, {
        hint: "write scheme, name and port without a path, for example https://app.example.org",
        exit: "config",
      });
  }
}

/** Whether a request with this Origin header may be answered. */
export function originAllowed(
  origin: string | undefined,
  host: string | undefined,
  allowed: readonly string[],
): boolean {
  if (origin === undefined || allowed.includes("*") || allowed.includes(origin)) return true;
  return host !== undefined && (origin === `http://${host}` || origin === `https://${host}`);
}
