/** The log: shape of its lines, levels, and that secrets and forged lines stay out. */
import { afterEach, describe, expect, test } from "bun:test";
import { MagnetError } from "../../src/core/errors.ts";
import { type LogOptions, log, redact, roomLog, startLog } from "../../src/core/log.ts";

let lines: string[] = [];
const start = (options: Partial<LogOptions> = {}) => {
  lines = [];
  startLog({
    level: "info",
    format: "json",
    color: false,
    write: (line) => lines.push(line),
    ...options,
  });
};
afterEach(() => startLog({ level: "error", format: "json", color: false, write: () => undefined }));
const json = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>);

describe("json lines", () => {
  test("time, level, room, event, then the fields", () => {
    start();
    roomLog("diloco").info("round_merged", { round: 3, wei: 2n ** 70n });
    expect(lines[0]).toEndWith("\n");
    expect(json()[0]).toMatchObject({
      level: "info",
      room: "diloco",
      event: "round_merged",
      round: 3,
      wei: "1180591620717411303424",
    });
    expect(new Date(json()[0]!.time as string).toISOString()).toBe(json()[0]!.time as string);
  });

  test("levels below the chosen one are not written", () => {
    start({ level: "warn" });
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    expect(json().map(({ event, level }) => [event, level])).toEqual([
      ["c", "warn"],
      ["d", "error"],
    ]);
  });

  test("a field cannot replace level or event", () => {
    start();
    log.info("real", { event: "forged", level: "debug" });
    expect(json()[0]).toMatchObject({ event: "real", level: "info", field_event: "forged" });
  });

  test("errors keep code and message", () => {
    start();
    log.error("failed", { error: new MagnetError("PEER_STALE", "silent") });
    expect(json()[0]!.error).toEqual({ code: "PEER_STALE", message: "silent" });
  });
});

describe("text lines", () => {
  test("one line with quoted fields: a peer's text cannot forge a line", () => {
    start({ format: "text" });
    log.info("peer_seen", { name: "evil\n12:00 ERROR main forged\x1b[2J", port: 7700 });
    expect(lines).toHaveLength(1);
    expect(lines[0]!.trimEnd()).not.toContain("\n");
    expect(lines[0]).not.toContain("\x1b");
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} INFO {2}main peer_seen name="evil\\n.* port=7700\n$/,
    );
  });
});

describe("redaction", () => {
  test.each(["private_key", "token", "api_key", "password", "prompt", "tls_pem", "session_secret"])(
    "%s is never shown",
    (key) => expect(redact(key, "value")).toBe("[redacted]"),
  );
  test.each(["public_key", "tokens", "tokens_per_s", "round", "key"])("%s is shown", (key) =>
    expect(redact(key, "value")).toBe("value"),
  );
  test("nested fields, lists, bytes, key material in any text, and depth", () => {
    expect(redact("peer", { list: [{ api_key: "x" }] })).toEqual({
      list: [{ api_key: "[redacted]" }],
    });
    expect(redact("body", new Uint8Array(32))).toBe("<32 bytes>");
    expect(redact("note", "-----BEGIN EC PRIVATE KEY-----\nabc")).toBe("[redacted]");
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    expect(JSON.stringify(redact("loop", loop))).toContain("[deep]");
    expect((redact("note", "x".repeat(5000)) as string).length).toBeLessThan(1100);
  });
});
