/** Errors: exit codes that scripts rely on, and how system failures are explained. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { EXIT, invariant, MagnetError, toMagnetError } from "../../src/core/errors.ts";

describe("exit codes", () => {
  test("are the documented ones", () => {
    expect(EXIT).toEqual({
      ok: 0,
      failed: 1,
      usage: 2,
      config: 3,
      unreachable: 4,
      auth: 5,
      verification: 6,
      hardware: 7,
      chain: 8,
      retry: 75,
      timeout: 124,
      sim_crash: 127,
      sim_liveness: 128,
      sim_correctness: 129,
      interrupted: 130,
    });
  });
});

describe("toMagnetError", () => {
  test("passes a MagnetError through unchanged", () => {
    const error = new MagnetError("PEER_STALE", "silent", { hint: "wait", retryable: true });
    expect(toMagnetError(error)).toBe(error);
  });

  test("explains a missing file with its path and a hint", () => {
    let caught: unknown;
    try {
      fs.readFileSync("/nonexistent/file");
    } catch (error) {
      caught = error;
    }
    const error = toMagnetError(caught);
    expect(error.code).toBe("NOT_FOUND");
    expect(error.message).toContain("/nonexistent/file");
    expect(error.hint).toBeString();
    expect(error.cause).toBe(caught);
  });

  test.each(["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EADDRINUSE", "EMFILE", "EISDIR"])(
    "%s has its own code and hint",
    (code) => {
      const error = toMagnetError(Object.assign(new Error("system"), { code }));
      expect(error.code).not.toBe("INTERNAL");
      expect(error.hint).toBeString();
    },
  );

  test("anything else is INTERNAL, with what was thrown as its cause", () => {
    expect(toMagnetError("text")).toMatchObject({ code: "INTERNAL", message: "text" });
    expect(toMagnetError(undefined).code).toBe("INTERNAL");
    expect(toMagnetError(new TypeError("x is not a function")).message).toBe("x is not a function");
  });
});

test("a broken invariant is no MagnetError: nobody handles it as an expected failure", () => {
  expect(() => invariant(false, "two leaders")).toThrow("invariant broken: two leaders");
  try {
    invariant(0, "zero");
  } catch (error) {
    expect(error).not.toBeInstanceOf(MagnetError);
  }
  expect(() => invariant(1, "fine")).not.toThrow();
});
