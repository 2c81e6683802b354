/**
 * Formats as patterns. Each allows only what every validator of the format allows; not all of it
 * (a time always has an offset of whole minutes, an address no comment).
 */
import { parseRegex, type Regex } from "./regex.ts";

const LEAP_YEAR = "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
const DATE =
  "(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)" +
  `|02-(?:0[1-9]|1\\d|2[0-8]))|${LEAP_YEAR}-02-29)`;
const TIME =
  "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?";

const FORMATS: Record<string, string> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
  ipv4: `${OCTET}(?:\\.${OCTET}){3}`,
  email: `[A-Za-z0-9_%+-]{1,32}(?:\\.[A-Za-z0-9_%+-]{1,16}){0,2}@(?:${LABEL}\\.){1,3}[a-z]{2,10}`,
};

export const FORMAT_NAMES: readonly string[] = Object.keys(FORMATS);

/** Undefined for a format that is not supported. */
export function formatRegex(name: string): Regex | undefined {
  const pattern = Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
  return pattern === undefined ? undefined : parseRegex(`^${pattern}$`, "");
}
