/**
 * Members that cheat in their training, in a process with honest ones: what their trainers do at
 * each step is changed, and everything behind it (points, trail, commitment) is made of that as an
 * honest node makes it.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { seededRandom } from "../../src/core/random.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { Member } from "./real-nodes.ts";

type Step = Trainer["step"];
type Arguments = Parameters<Step>;

/** What a cheat does in place of a step; `step` is the honest one. */
export type Cheat = (
  trainer: Trainer,
  step: (...args: Arguments) => ReturnType<Step>,
  args: Arguments,
) => ReturnType<Step>;

const cheating = new AsyncLocalStorage<Cheat>();
const { step: honest } = Trainer.prototype;
Trainer.prototype.step = function step(this: Trainer, ...args: Arguments): ReturnType<Step> {
  const cheat = cheating.getStore();
  const real = (...given: Arguments) => honest.apply(this, given);
  return cheat ? cheat(this, real, args) : real(...args);
};

/** From now on this member trains like that; what it audits it does honestly. */
export function cheats(member: Member, cheat: Cheat): void {
  const { jobs } = member.running;
  const run = jobs.run.bind(jobs);
  jobs.run = (job_id, work) =>
    run(job_id, (runner) => {
      const train = runner.train.bind(runner);
      const liar = new Proxy(runner, {
        get(target, name) {
          if (name === "train")
            return (...args: Parameters<typeof train>) => cheating.run(cheat, () => train(...args));
          const value = Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
      return work(liar);
    });
}

/** The first moments at the start of a step, and its place in the round, are in `args[2].step`. */
const isEvery = (n: number, [, , adamw]: Arguments) => adamw.step % n === 0;

/** All cheats that a CPU's audit must find, by name. */
export const CHEATS: Record<string, Cheat> = {
  "leaves steps out": async (_trainer, step, args) =>
    isEvery(2, args) ? { loss: 5, grad_norm: 1, tokens: args[0].length } : step(...args),
  "scales what it learned": async (trainer, step, args) => {
    const before = trainer.params.slice();
    const done = await step(...args);
    for (const [i, x] of trainer.params.entries()) trainer.params[i] = 2 * x - before[i]!;
    return done;
  },
  "sends noise": async (trainer, _step, args) => {
    const random = seededRandom(3);
    for (const [i, x] of trainer.params.entries())
      trainer.params[i] = x + 1e-3 * (random.next() - 0.5);
    return { loss: 5, grad_norm: 1, tokens: args[0].length };
  },
  "trains on other data": (_trainer, step, [sequences, ...rest]) =>
    step(new Int32Array(sequences.length).fill(sequences[0]!), ...rest),
  "keeps its moments as they were": async (trainer, step, args) => {
    const [m, v] = [trainer.m.slice(), trainer.v.slice()];
    const done = await step(...args);
    trainer.m.set(m);
    trainer.v.set(v);
    return done;
  },
};
