/**
 * The genkidama study at a tiny scale: all 54 configurations, phases that build on one another, costs
 * kept, and the same result after an interruption anywhere.
 */
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/core/clock.ts";
import type { LanguageDomain } from "../../../src/research/language/domain.ts";
import type { TrialRunner } from "../../../src/research/loop/faces.ts";
import { genkidamaTask, runGenkidama } from "../../../src/research/study/genkidama.ts";
import { PHASES } from "../../../src/research/study/genkidama-phases.ts";
import { studyMarkdown } from "../../../src/research/study/genkidama-table.ts";
import type { StudyEvent, StudyResult } from "../../../src/research/study/genkidama-types.ts";
import { parseTask } from "../../../src/research/task/load.ts";
import type { Trial } from "../../../src/research/types.ts";
import { localRunner } from "../local-runner.ts";
import { corpusFor, openDomain, SMALL } from "./texts.ts";

const corpus = corpusFor([
  { name: "a", documents: 40 },
  { name: "b", documents: 40 },
]);
const TINY = { ...SMALL, optimizer: "adamw", lr: 1.5e-3, group: 2, d_model: 32, n_layers: 1 };

function openStudy(): LanguageDomain {
  const { tokens } = genkidamaTask({ data: ["texts"], scale: 0.004 }).language;
  return openDomain(corpus, { tokens, baseline: TINY, evaluation_bytes: 8192 });
}

/** Answers from memory what was asked before, as the durable runner does; can be cut off. */
class Memory implements TrialRunner {
  readonly #trials: Trial[] = [];
  readonly #steps = new Map<string, unknown>();
  #asked = 0;
  fresh = 0;

  constructor(
    private readonly inner: TrialRunner,
    private readonly left: number,
  ) {}

  /** Another life over the same store. */
  next(left: number): Memory {
    const life = new Memory(this.inner, left);
    life.#trials.push(...this.#trials);
    for (const [key, value] of this.#steps) life.#steps.set(key, value);
    return life;
  }

  #spend(): void {
    if (this.fresh++ >= this.left) throw new Error("killed");
  }

  async run(...[batch, options]: Parameters<TrialRunner["run"]>): Promise<Trial[]> {
    const trials: Trial[] = [];
    for (const proposal of batch) {
      const index = this.#asked++;
      if (this.#trials[index] === undefined) {
        this.#spend();
        const [trial] = await this.inner.run([proposal], options);
        this.#trials.push({ ...trial!, index });
      }
      trials.push(this.#trials[index]!);
    }
    return trials;
  }

  spent = () => ({ cpu_s: 1, wall_s: 1 });

  async once<T>(key: string, step: () => T | Promise<T>): Promise<T> {
    if (!this.#steps.has(key)) {
      this.#spend();
      this.#steps.set(key, JSON.parse(JSON.stringify(await step())));
    }
    return this.#steps.get(key) as T;
  }
}

/** Without what a clock says. */
function decided(result: StudyResult): string {
  const timed = new Set(["cpu_s", "cpu_ratio", "reached", "spent"]);
  return JSON.stringify(result, (key, value) => (timed.has(key) ? undefined : value));
}

describe("the genkidama study", () => {
  test("has 54 configurations in the paper's ten phases", () => {
    const current = openStudy();
    const base = current.parse(current.baseline()) as never;
    const counts = PHASES.map((phase) => phase.candidates(base).length);
    expect([...counts, 3]).toEqual([8, 8, 6, 6, 6, 5, 4, 5, 3, 3]);
    for (const phase of PHASES)
      for (const change of phase.candidates(base))
        current.parse({ ...current.baseline(), ...(change as object) });
  });

  test("finds a better recipe, and the same one after kills anywhere", async () => {
    const domain = openStudy();
    const inner = localRunner({ domain, clock: systemClock });
    const events: StudyEvent[] = [];
    const whole = new Memory(inner, Number.POSITIVE_INFINITY);
    const onEvent = (event: StudyEvent) => events.push(event);
    const result = await runGenkidama({ domain, runner: whole, onEvent });

    expect(result.phases.map(({ rows }) => rows.length)).toEqual([8, 8, 6, 6, 6, 5, 4, 5, 3]);
    expect(result.confirmation.length).toBe(3);
    expect(result.reference.change).toBe("the recipe");
    expect(studyMarkdown(result)).toContain("| 10 | Final validation | 3 |");
    const phases = events.filter(({ kind }) => kind === "phase");
    expect(phases.length).toBe(9);
    // Each phase changes its own group alone and starts from what the ones before have settled on.
    for (const [i, { rows, adopted, current }] of result.phases.entries()) {
      const before = result.phases[i - 1]?.current.bits_per_byte ?? result.baseline_bits_per_byte;
      if (adopted) expect(rows).toContain(adopted);
      else expect(current.bits_per_byte).toBe(before);
    }
    const { final } = result;
    expect(final.gain).toBeGreaterThan(0.05);
    expect(final.difference.low).toBeGreaterThan(0);
    expect(final.contestants.map(({ cpu_s }) => cpu_s.length)).toEqual([3, 3, 3]);
    const chosen = result.phases.flatMap(({ rows }) => rows);
    const winner = chosen.find((row) => Bun.deepEquals(row.configuration, result.winner));
    expect(winner?.relative_cost).toBeLessThanOrEqual(0.96);

    let life = whole.next(0);
    // A fresh store that lives for a few steps at a time.
    life = new Memory(inner, 20);
    for (let kills = 0; ; kills++) {
      const again = await runGenkidama({ domain, runner: life }).catch((error: Error) => {
        expect(error.message).toBe("killed");
        return null;
      });
      if (again) {
        expect(kills).toBeGreaterThan(2);
        expect(decided(again)).toBe(decided(result));
        break;
      }
      life = life.next(20);
    }
  }, 120_000);

  test("its task is a task file; a scale without sense is refused", () => {
    const document = genkidamaTask({ data: ["/texts"], scale: 0.1 });
    const task = parseTask(document, "/study/task.json");
    expect(task.domain).toBe("language");
    expect(task.data).toEqual(["/texts"]);
    expect(() => genkidamaTask({ data: ["x"], scale: 0 })).toThrow("scale");
  });
});
