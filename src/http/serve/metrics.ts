/**
 * What /metrics shows, in Prometheus' text format. Names and labels are part of the interface: a
 * golden test holds them. Labels are route patterns, model ids and codes, never a client's text.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ServedModel } from "./served-model.ts";

/** From a cached short answer to an hour's batch. */
const DURATION_BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
const FIRST_TOKEN_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const PHASE_BUCKETS = [0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300];

export interface MetricsOptions {
  version: string;
  models(): readonly ServedModel[];
  ready(): boolean;
  resident_bytes(): number;
}

export class ServeMetrics {
  /** Where other parts of the server add theirs. */
  readonly registry = new Registry();
  readonly #requests: Counter<"route" | "method" | "status">;
  readonly #durations: Histogram<"route">;
  readonly #first: Histogram<"model">;
  readonly #phases: Histogram<"model" | "phase">;
  readonly #cancelled: Counter<"reason">;
  readonly #refused: Counter<"code">;
  readonly #in_flight: Gauge;

  constructor(private readonly options: MetricsOptions) {
    const registers = [this.registry];
    this.#requests = new Counter({
      name: "magnet_http_requests_total",
      help: "Requests that have ended",
      labelNames: ["route", "method", "status"],
      registers,
    });
    this.#durations = new Histogram({
      name: "magnet_http_request_duration_seconds",
      help: "Time from a request's arrival to the end of its answer",
      labelNames: ["route"],
      buckets: DURATION_BUCKETS,
      registers,
    });
    this.#first = new Histogram({
      name: "magnet_first_token_seconds",
      help: "Time from a request's arrival to its first token",
      labelNames: ["model"],
      buckets: FIRST_TOKEN_BUCKETS,
      registers,
    });
    this.#phases = new Histogram({
      name: "magnet_answer_phase_seconds",
      help: "Time that answers spent waiting, reading their prompt, and being written",
      labelNames: ["model", "phase"],
      buckets: PHASE_BUCKETS,
      registers,
    });
    this.#cancelled = new Counter({
      name: "magnet_http_cancelled_total",
      help: "Requests that were ended before their answer was whole",
      labelNames: ["reason"],
      registers,
    });
    this.#refused = new Counter({
      name: "magnet_http_errors_total",
      help: "Requests that were answered with an error",
      labelNames: ["code"],
      registers,
    });
    this.#in_flight = new Gauge({
      name: "magnet_http_requests_in_flight",
      help: "Requests in work",
      registers,
    });
    this.#addProcess();
    this.#addEngine();
  }

  request(done: { route: string; method: string; status: number; seconds: number }): void {
    const { route, method, status, seconds } = done;
    this.#requests.inc({ route, method, status: String(status) });
    this.#durations.observe({ route }, seconds);
  }
  firstToken(model: string, seconds: number): void {
    this.#first.observe({ model }, seconds);
  }
  phases(model: string, ms: { queued_ms: number; prefill_ms: number; decode_ms: number }): void {
    this.#phases.observe({ model, phase: "queued" }, ms.queued_ms / 1000);
    this.#phases.observe({ model, phase: "prefill" }, ms.prefill_ms / 1000);
    this.#phases.observe({ model, phase: "decode" }, ms.decode_ms / 1000);
  }
  cancelled(reason: string): void {
    this.#cancelled.inc({ reason });
  }
  refused(code: string): void {
    this.#refused.inc({ code });
  }
  inFlight(requests: number): void {
    this.#in_flight.set(requests);
  }

  get contentType(): string {
    return this.registry.contentType;
  }
  text(): Promise<string> {
    return this.registry.metrics();
  }

  #addProcess(): void {
    const { version, ready, resident_bytes } = this.options;
    const registers = [this.registry];
    new Gauge({
      name: "magnet_build_info",
      help: "Always 1; its label is the version",
      labelNames: ["version"],
      registers,
    }).set({ version }, 1);
    new Gauge({
      name: "magnet_ready",
      help: "1 once all models are loaded",
      registers,
      collect() {
        this.set(ready() ? 1 : 0);
      },
    });
    new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory of the process",
      registers,
      collect() {
        this.set(resident_bytes());
      },
    });
  }

  /** Read from the engines when the page is asked for: nothing is counted twice. */
  #addEngine(): void {
    const { models } = this.options;
    const registers = [this.registry];
    type Stats = ReturnType<ServedModel["stats"]>;
    const gauge = (name: string, help: string, value: (stats: Stats) => number) =>
      new Gauge({
        ...{ name, help, labelNames: ["model"] as const, registers },
        collect() {
          this.reset();
          for (const model of models()) this.set({ model: model.id }, value(model.stats()));
        },
      });
    const counter = (name: string, help: string, value: (stats: Stats) => number) =>
      new Counter({
        ...{ name, help, labelNames: ["model"] as const, registers },
        collect() {
          this.reset();
          for (const model of models()) this.inc({ model: model.id }, value(model.stats()));
        },
      });
    gauge("magnet_sequences_running", "Sequences in the batch", (s) => s.running);
    gauge("magnet_sequences_waiting", "Sequences that wait for a place", (s) => s.waiting);
    gauge("magnet_kv_blocks", "Blocks of the key-value pool", (s) => s.blocks_total);
    gauge("magnet_kv_blocks_in_use", "Blocks held by sequences", (s) => s.blocks_in_use);
    gauge(
      "magnet_kv_blocks_cached",
      "Blocks held by the prefix cache alone",
      (s) => s.blocks_cached,
    );
    gauge("magnet_native_handles", "Native objects alive in the process", (s) => s.live_handles);
    counter("magnet_prompt_tokens_total", "Tokens of prompts", (s) => s.prompt_tokens);
    counter("magnet_cached_tokens_total", "Of them, from the prefix cache", (s) => s.cached_tokens);
    counter("magnet_completion_tokens_total", "Tokens drawn", (s) => s.completion_tokens);
    counter("magnet_engine_steps_total", "Steps of the batch", (s) => s.steps);
  }
}
