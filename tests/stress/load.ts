/**
 * Many streaming clients at once, half of which go away midway, against a server at a URL. Every
 * request has a seed and was answered once alone before: under load its text must be the same, and
 * of an answer that was cut off a beginning of it. Afterwards the server's own counters must be
 * where they were.
 */
import { seededRandom } from "../../src/core/random.ts";

export interface LoadOptions {
  url: string;
  model: string;
  clients: number;
  duration_ms: number;
  /** Different requests; each client draws from them. */
  requests?: number;
  max_tokens?: number;
  seed?: number;
}

export interface LoadReport {
  whole: number;
  cut_off: number;
  tokens_per_s: number;
  health_probes: number;
  health_p50_ms: number;
  health_p99_ms: number;
  health_max_ms: number;
  health_failures: number;
  /** Texts that differ from those of the same request alone. */
  wrong: string[];
  /** Anything that is neither an answer nor a client's own hanging up. */
  failures: string[];
  before: Gauges;
  after: Gauges;
}

/** What has to return to where it was, from /metrics. */
export interface Gauges {
  in_flight: number;
  running: number;
  waiting: number;
  kv_blocks_in_use: number;
  native_handles: number;
  completion_tokens: number;
  resident_bytes: number;
}

async function gauges(url: string): Promise<Gauges> {
  const page = await (await fetch(`${url}/metrics`)).text();
  const value = (name: string): number => {
    const line = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(page);
    if (!line) throw new Error(`/metrics has no ${name}`);
    return Number(line[1]);
  };
  return {
    in_flight: value("magnet_http_requests_in_flight") - 1, // this one
    running: value("magnet_sequences_running"),
    waiting: value("magnet_sequences_waiting"),
    kv_blocks_in_use: value("magnet_kv_blocks_in_use"),
    native_handles: value("magnet_native_handles"),
    completion_tokens: value("magnet_completion_tokens_total"),
    resident_bytes: value("process_resident_memory_bytes"),
  };
}

/** Beginnings that are partly shared, so that the prefix cache is at work too. */
const requestOf = (options: LoadOptions, index: number): object => ({
  model: options.model,
  prompt: `It is a way I have of driving off the spleen, number ${index % 4}. ${"Sea ".repeat(index)}`,
  seed: index,
  temperature: 1,
  max_tokens: options.max_tokens ?? 96,
  stream: true,
});

/** Streams one answer; `cut_after` characters later the client goes away. */
async function ask(
  url: string,
  body: object,
  cut_after: number,
): Promise<{ text: string; ended: boolean }> {
  const abort = new AbortController();
  let text = "";
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify(body),
      signal: abort.signal,
    });
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    for await (const event of eventsOf(response.body!)) {
      if (event === "data: [DONE]") return { text, ended: true };
      const data = JSON.parse(event.slice("data: ".length));
      if (data.error) throw new Error(data.error.message);
      text += data.choices[0].text;
      if (text.length >= cut_after) abort.abort();
    }
  } catch (error) {
    if (abort.signal.aborted) return { text, ended: false };
    throw error;
  }
  if (abort.signal.aborted) return { text, ended: false };
  throw new Error("the stream ended without [DONE]");
}

async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const part of body) {
    pending += decoder.decode(part, { stream: true });
    const events = pending.split("\n\n");
    pending = events.pop()!;
    yield* events;
  }
}

function probeHealth(url: string): () => Promise<{ latencies_ms: number[]; failures: number }> {
  const worker = new Worker(new URL("./health-probe.ts", import.meta.url).href);
  worker.postMessage({ url, every_ms: 5 });
  return () =>
    new Promise((resolve) => {
      worker.addEventListener("message", (event: MessageEvent) => {
        worker.terminate();
        resolve(event.data);
      });
      worker.postMessage("stop");
    });
}

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
const idle = (now: Gauges): boolean => now.in_flight + now.running + now.waiting === 0;

/** Whatever is left in work gets this long to end; beyond it the report shows it. */
const SETTLE_MS = 10_000;

async function settled(url: string): Promise<Gauges> {
  const end_ms = performance.now() + SETTLE_MS;
  for (;;) {
    const now = await gauges(url);
    if (idle(now) || performance.now() > end_ms) return now;
  }
}

export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const { url, clients, duration_ms } = options;
  const requests = Array.from({ length: options.requests ?? 12 }, (_, i) => requestOf(options, i));
  const alone: string[] = [];
  for (const body of requests) alone.push((await ask(url, body, Number.POSITIVE_INFINITY)).text);
  const before = await settled(url);
  const stopProbing = probeHealth(url);
  const report = { whole: 0, cut_off: 0, wrong: [] as string[], failures: [] as string[] };
  const start_ms = performance.now();
  const client = async (number: number) => {
    const random = seededRandom((options.seed ?? 1) * 1000 + number);
    while (performance.now() - start_ms < duration_ms) {
      const which = random.below(requests.length);
      const expected = alone[which]!;
      const leaves = number % 2 === 1;
      const cut_after = leaves ? 1 + random.below(expected.length) : Number.POSITIVE_INFINITY;
      try {
        const { text, ended } = await ask(url, requests[which]!, cut_after);
        const right = ended ? text === expected : expected.startsWith(text);
        if (!right) report.wrong.push(`request ${which}: ${JSON.stringify(text.slice(0, 200))}`);
        if (ended) report.whole++;
        else report.cut_off++;
      } catch (error) {
        report.failures.push(String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  const took_s = (performance.now() - start_ms) / 1000;
  const health = await stopProbing();
  const after = await settled(url);
  const sorted = health.latencies_ms.toSorted((a, b) => a - b);
  return {
    ...report,
    tokens_per_s: Math.round((after.completion_tokens - before.completion_tokens) / took_s),
    health_probes: sorted.length,
    health_p50_ms: percentile(sorted, 0.5),
    health_p99_ms: percentile(sorted, 0.99),
    health_max_ms: sorted.at(-1) ?? 0,
    health_failures: health.failures,
    before,
    after,
  };
}

/** What is wrong with a report, one line each; nothing where all is well. */
export function problems({ before, after, ...report }: LoadReport, p99_max_ms: number): string[] {
  const found = [...report.wrong.slice(0, 3), ...report.failures.slice(0, 3)];
  for (const name of [
    "in_flight",
    "running",
    "waiting",
    "kv_blocks_in_use",
    "native_handles",
  ] as const)
    if (after[name] !== before[name])
      found.push(`${name}: ${before[name]} before, ${after[name]} after`);
  if (report.health_failures > 0) found.push(`${report.health_failures} probes of /health failed`);
  if (report.health_p99_ms > p99_max_ms)
    found.push(`/health p99 ${report.health_p99_ms.toFixed(1)} ms, at most ${p99_max_ms}`);
  if (report.whole === 0 || report.cut_off === 0)
    found.push("no answer was whole, or none cut off");
  return found;
}
