/**
 * A teacher with its caps: each call is counted before and after, and refused once tokens or money
 * of the run are used up. Calls are told to `onCall`, for the log.
 */
import { MagnetError } from "../../core/errors.ts";
import {
  openBackend,
  type TeacherAnswer,
  type TeacherBackend,
  type TeacherQuestion,
} from "./backend.ts";
import { recording, replaying } from "./recording.ts";
import type { TeacherSettings } from "./settings.ts";

export interface TeacherUse {
  readonly calls: number;
  readonly failed: number;
  readonly input_tokens: number;
  readonly output_tokens: number;
  /** Null where the settings have no prices. */
  readonly cost_usd: number | null;
}

/** Tokens of a text are not known before the call; no tokenizer has more than one for two bytes. */
const tokensAtMost = (text: string) => Math.ceil(Buffer.byteLength(text) / 2);

export class Teacher {
  private calls = 0;
  private failed = 0;
  private input = 0;
  private output = 0;

  constructor(
    readonly settings: TeacherSettings,
    private readonly backend: TeacherBackend,
    private readonly onCall?: (use: TeacherUse) => void,
  ) {}

  get use(): TeacherUse {
    return {
      calls: this.calls,
      failed: this.failed,
      input_tokens: this.input,
      output_tokens: this.output,
      cost_usd: this.costOf(this.input, this.output),
    };
  }

  /** Throws TEACHER_SPENT before a call that could exceed a cap, TEACHER_FAILED. */
  async ask(question: TeacherQuestion, signal?: AbortSignal): Promise<TeacherAnswer> {
    this.checkCaps(question);
    this.calls++;
    try {
      const answer = await this.backend.ask(question, signal);
      // A server that does not count is counted by length, never as free.
      this.input += answer.input_tokens || tokensAtMost(question.system + question.prompt);
      this.output += answer.output_tokens || tokensAtMost(answer.text);
      return answer;
    } catch (error) {
      this.failed++;
      throw error;
    } finally {
      this.onCall?.(this.use);
    }
  }

  private costOf(input: number, output: number): number | null {
    const { price_input_usd_per_mtok: a, price_output_usd_per_mtok: b } = this.settings;
    return a === undefined || b === undefined ? null : (input * a + output * b) / 1e6;
  }

  private checkCaps({ system, prompt, answer_tokens }: TeacherQuestion): void {
    const input = this.input + tokensAtMost(system + prompt);
    const output = this.output + answer_tokens;
    const { tokens_max, cost_max_usd } = this.settings;
    const spent = (message: string, field: string) =>
      new MagnetError("TEACHER_SPENT", message, { hint: `raise teacher.${field}` });
    if (input + output > tokens_max)
      throw spent(
        `the next call could use more than ${tokens_max} tokens in all (${this.input + this.output} used)`,
        "tokens_max",
      );
    const cost = this.costOf(input, output);
    if (cost_max_usd !== undefined && cost !== null && cost > cost_max_usd)
      throw spent(`the next call could cost more than $${cost_max_usd} in all`, "cost_max_usd");
  }
}

/** Opens the teacher of a task. Throws what the backend does, and BAD_RECORDING. */
export async function openTeacher(
  settings: TeacherSettings,
  options: {
    env: Record<string, string | undefined>;
    trusted_hosts?: readonly string[];
    onCall?: (use: TeacherUse) => void;
  },
): Promise<Teacher> {
  const { record, replay } = settings;
  if (replay !== undefined) return new Teacher(settings, replaying(replay), options.onCall);
  const asked = await openBackend(settings, {
    env: options.env,
    trusted_hosts: options.trusted_hosts ?? [],
  });
  const backend = record === undefined ? asked : recording(record, asked);
  return new Teacher(settings, backend, options.onCall);
}
