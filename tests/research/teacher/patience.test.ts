/** What a teacher that does not answer may cost a run: little time, and not again and again. */
import { expect, test } from "bun:test";
import type { TeacherRequest } from "../../../src/research/loop/faces.ts";
import type { TeacherBackend } from "../../../src/research/teacher/backend.ts";
import { TEACHER_LIMITS } from "../../../src/research/teacher/limits.ts";
import { teacherSource } from "../../../src/research/teacher/propose.ts";
import { parseTeacher } from "../../../src/research/teacher/settings.ts";
import { Teacher } from "../../../src/research/teacher/teacher.ts";

const SETTINGS = parseTeacher({ backend: "openai", model: "m", base_url: "http://127.0.0.1:1" });
const REQUEST = {
  ...{ version: 1, facts: {}, metric: "accuracy", best: {}, failures: [], sweeps: [], tried: [] },
} as unknown as TeacherRequest;
const sourceOf = (ask: TeacherBackend["ask"], wall_s?: number) =>
  teacherSource(new Teacher(SETTINGS, { ask }), 1, wall_s);

test("a teacher that fails twice in a row is not asked again", async () => {
  let calls = 0;
  const source = sourceOf(async () => {
    calls++;
    throw new Error("down");
  });
  for (let i = 0; i < TEACHER_LIMITS.failures; i++)
    expect((await source.propose(REQUEST)).note).toBe("down");
  expect((await source.propose(REQUEST)).note).toContain("not asked again");
  expect(calls).toBe(TEACHER_LIMITS.failures);
});

test("an answer between two failures keeps it in the run", async () => {
  let calls = 0;
  const source = sourceOf(async () => {
    if (calls++ % 2 === 0) throw new Error("down");
    return { text: '{"proposals": []}', input_tokens: 1, output_tokens: 1 };
  });
  for (let i = 0; i < 6; i++) await source.propose(REQUEST);
  expect(calls).toBe(6);
});

test("a budget of wall clock is not waited away", async () => {
  const silent: TeacherBackend["ask"] = (_, signal) =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  const { proposals, note } = await sourceOf(silent, 0.2).propose(REQUEST);
  expect(proposals).toEqual([]);
  expect(note).toContain("timed out");
});
