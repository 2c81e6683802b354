/**
 * `magnet bench kernel`: where the time of real training steps goes, kernel by kernel, with the rate
 * of each, the limit that binds it and how near it comes. Rates and shares are those of the step
 * itself (its caches, its threads, its order), not of kernels run alone.
 */
import { type BenchResult, benchResult, machineOf } from "../core/bench-report.ts";
import type { MachineLimits } from "../native/machine.ts";
import { type AccountPart, accountOf, hasAccount } from "./bench-account.ts";
import { kernelWork, roofOf } from "./bench-roofline.ts";
import { type BenchShape, flopsPerToken } from "./bench-shapes.ts";
import { type BenchOptions, benchMachine, timeSteps } from "./bench-train.ts";
import type { Trainer } from "./trainer.ts";
import type { StepProfile } from "./trainer-types.ts";

/** A result of the suite "kernel". */
export type KernelResult = BenchResult & {
  /** Part of the step's time. */
  share: number;
  ms_per_step: number;
  /** What the step would take for it at the limit; null where no limit is known. */
  ms_at_limit: number | null;
};

/** One kernel in every repeat's profile. */
interface Measured {
  name: string;
  kernel: string;
  site: string;
  /** Milliseconds a step, by repeat. */
  ms: number[];
  calls_per_step: number;
}

function measuredKernels(profiles: readonly StepProfile[]): Measured[] {
  const found = new Map<string, Measured>();
  for (const [r, { steps, entries }] of profiles.entries())
    for (const { kernel, site, ns, calls } of entries) {
      const name = site === "" ? kernel : `${kernel}/${site}`;
      const fresh = { name, kernel, site, ms: profiles.map(() => 0), calls_per_step: 0 };
      const entry = found.get(name) ?? fresh;
      entry.ms[r] = ns / 1e6 / steps;
      entry.calls_per_step = calls / steps;
      found.set(name, entry);
    }
  return [...found.values()];
}

/** On a GPU, beside what the sizes let one expect of an H200. */
function gpuKernelResult(
  measured: Measured,
  account: AccountPart[],
  step_ms: number,
): KernelResult {
  const { name, kernel, site, ms } = measured;
  const ms_per_step = Math.min(...ms);
  const share = ms_per_step / step_ms;
  const part = account.find((p) => p.kernel === kernel && p.site === site);
  if (part === undefined)
    return { ...benchResult(name, "ms", ms), share, ms_per_step, ms_at_limit: null };
  const [amount, unit] = part.operations > 0 ? [part.operations, "GFLOP/s"] : [part.bytes, "GB/s"];
  const rates = ms.map((t) => amount / t / 1e6);
  const roof = { value: amount / part.ms / 1e6, name: "account of an H200" };
  return { ...benchResult(name, unit, rates, roof), share, ms_per_step, ms_at_limit: part.ms };
}

function kernelResult(
  { name, kernel, site, ms, calls_per_step }: Measured,
  shape: BenchShape,
  limits: MachineLimits,
  step_ms: number,
): KernelResult {
  const ms_per_step = Math.min(...ms);
  const share = ms_per_step / step_ms;
  const work = kernelWork(kernel, site, shape);
  if (work === undefined)
    return { ...benchResult(name, "ms", ms), share, ms_per_step, ms_at_limit: null };
  const amount = work.unit === "GB/s" ? work.bytes : work.operations;
  const rates = ms.map((t) => amount / t / 1e6);
  const roof = roofOf(work, limits, work.bytes / Math.max(1, calls_per_step));
  const ms_at_limit = amount / roof.value / 1e6;
  return { ...benchResult(name, work.unit, rates, roof), share, ms_per_step, ms_at_limit };
}

/** Time by the limit that binds, for the answer to "what bounds the step?". */
function timeByLimit(results: readonly KernelResult[]) {
  const groups = new Map<string, { limit_name: string; share: number; ms: number }>();
  for (const { limit_name, share, ms_per_step } of results) {
    const name = limit_name ?? "none known";
    const group = groups.get(name) ?? { limit_name: name, share: 0, ms: 0 };
    group.share += share;
    group.ms += ms_per_step;
    groups.set(name, group);
  }
  return [...groups.values()].sort((x, y) => y.ms - x.ms);
}

/** The suite "kernel": results by falling share. */
export async function benchKernels(options: BenchOptions) {
  const { shape, threads } = options;
  const gpu = options.device?.gpu ?? null;
  const { machine, limits } = gpu
    ? { machine: { ...machineOf(), gpu }, limits: null }
    : await benchMachine(threads);
  const profiles: StepProfile[] = [];
  const onRepeat = (trainer: Trainer) => profiles.push(trainer.profile());
  await timeSteps({ ...options, by_part: true, onRepeat });
  const measured = measuredKernels(profiles);
  const step_ms = measured.reduce((sum, { ms }) => sum + Math.min(...ms), 0);
  const account = limits || !hasAccount(shape) ? [] : accountOf(shape);
  const results = measured
    .map((kernel) =>
      limits
        ? kernelResult(kernel, shape, limits, step_ms)
        : gpuKernelResult(kernel, account, step_ms),
    )
    .sort((x, y) => y.ms_per_step - x.ms_per_step);
  const at_limit_ms = results.reduce((sum, r) => sum + (r.ms_at_limit ?? 0), 0);
  const { model, batch, context } = shape;
  const gflops = (flopsPerToken(shape) * batch * context) / step_ms / 1e6;
  return {
    suite: "kernel",
    machine,
    shape: { ...model, batch, context },
    step_ms,
    /** Sum over the kernels with a known limit: no step of these kernels can be faster. */
    at_limit_ms,
    /** Packing of operands, inside of the products' times (calling thread). */
    packing_share:
      Math.min(...profiles.map((p) => p.packing_ns / 1e6 / p.steps)) / Math.max(step_ms, 1e-9),
    model_gflops: gflops,
    bound_by: timeByLimit(results),
    /** Of a GPU: what its matrix products were measured to take, by path. */
    products: profiles[0]?.products ?? [],
    results,
  };
}
export type KernelReport = Awaited<ReturnType<typeof benchKernels>>;
