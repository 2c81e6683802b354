/**
 * Answers as JSONL, so that a run can be repeated without a server: a line for each question, found
 * by the hash of everything that was asked. A question asked twice gets its answers in order.
 */
import fs from "node:fs";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { TeacherAnswer, TeacherBackend, TeacherQuestion } from "./backend.ts";

/** Larger files are no recording of a run. */
const RECORDING_BYTES_MAX = 256 * 1024 * 1024;

const lineSchema = z.object({
  question: z.string().regex(/^[0-9a-f]{64}$/),
  text: z.string(),
  input_tokens: z.int().min(0),
  output_tokens: z.int().min(0),
});

export function questionHash(question: TeacherQuestion): string {
  const { system, prompt, answer_tokens, temperature, seed } = question;
  return bytesToHex(
    sha256(utf8ToBytes(JSON.stringify([system, prompt, answer_tokens, temperature, seed]))),
  );
}

/** Writes each answer down before it is used. */
export function recording(file: string, backend: TeacherBackend): TeacherBackend {
  return {
    async ask(question, signal) {
      const answer = await backend.ask(question, signal);
      const line = { question: questionHash(question), ...answer };
      try {
        fs.appendFileSync(file, `${JSON.stringify(line)}\n`);
      } catch (error) {
        throw toMagnetError(error);
      }
      return answer;
    },
  };
}

/** Throws BAD_RECORDING naming the line, NOT_FOUND. */
export function replaying(file: string): TeacherBackend {
  const answers = new Map<string, TeacherAnswer[]>();
  for (const [i, line] of readLines(file).entries()) {
    const { question, ...answer } = parseLine(file, i + 1, line);
    const known = answers.get(question);
    if (known) known.push(answer);
    else answers.set(question, [answer]);
  }
  return {
    async ask(question) {
      const known = answers.get(questionHash(question));
      const answer = known && known.length > 1 ? known.shift() : known?.[0];
      if (answer) return answer;
      throw new MagnetError("NOT_RECORDED", `${file} has no answer to this question`, {
        hint: "task, seed and settings must be those of the recorded run",
      });
    },
  };
}

function readLines(file: string): string[] {
  try {
    if (fs.statSync(file).size > RECORDING_BYTES_MAX)
      throw new MagnetError("BAD_RECORDING", `${file} is larger than ${RECORDING_BYTES_MAX} bytes`);
    return fs
      .readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line.trim() !== "");
  } catch (error) {
    throw toMagnetError(error);
  }
}

function parseLine(file: string, number: number, line: string) {
  try {
    return lineSchema.parse(JSON.parse(line));
  } catch (cause) {
    throw new MagnetError("BAD_RECORDING", `${file}:${number} is no recorded answer`, {
      hint: "a recording is written by a run with teacher.record",
      cause,
    });
  }
}
