/** One finding of the doctor. */

export type CheckStatus = "ok" | "warn" | "fail";
export interface Check {
  name: string;
  status: CheckStatus;
  /** What was found, for people. */
  value: string;
  /** What to do about it; null where nothing is wrong. */
  fix: string | null;
}

export const ok = (name: string, value: string): Check => ({
  name,
  status: "ok",
  value,
  fix: null,
});
export const warn = (name: string, value: string, fix: string): Check => ({
  name,
  status: "warn",
  value,
  fix,
});
export const fail = (name: string, value: string, fix: string): Check => ({
  name,
  status: "fail",
  value,
  fix,
});
