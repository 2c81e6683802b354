/** /metrics, line by line: names and labels are an interface that dashboards stand on. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { fakeModel, NO_STATS, saying, serve } from "./serve-fixture.ts";

/** The page without the buckets of histograms and without the process's memory. */
const compact = (page: string): string[] =>
  page
    .split("\n")
    .filter((line) => line !== "" && !line.includes("_bucket{") && !line.startsWith("# HELP"))
    .map((line) => line.replace(/^(process_resident_memory_bytes) \d+$/, "$1 N"));

test("the page after one answer and one refusal", async () => {
  const stats = { ...NO_STATS, running: 1, blocks_in_use: 2, prompt_tokens: 3, steps: 5 };
  const model = await fakeModel(saying("a", "b"), { stats: () => stats });
  const monotonic_ms = () => 0;
  const server = await serve([model], { monotonic_ms, random: seededRandom(1) });
  try {
    const body = { model: "fake", prompt: "x" };
    for (const asked of [body, { ...body, model: "no-such-model" }])
      await fetch(`${server.url}/v1/completions`, {
        method: "POST",
        body: JSON.stringify(asked),
      }).then((response) => response.text());
    const response = await fetch(`${server.url}/metrics`);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const page = await response.text();
    expect(compact(page)).toEqual(EXPECTED);
    // A client's text never becomes a label: neither the name it asked for nor its path.
    expect(page).not.toContain("no-such-model");
  } finally {
    await server.close();
  }
});

const EXPECTED = [
  "# TYPE magnet_http_requests_total counter",
  'magnet_http_requests_total{route="/v1/completions",method="POST",status="200"} 1',
  'magnet_http_requests_total{route="/v1/completions",method="POST",status="404"} 1',
  "# TYPE magnet_http_request_duration_seconds histogram",
  'magnet_http_request_duration_seconds_sum{route="/v1/completions"} 0',
  'magnet_http_request_duration_seconds_count{route="/v1/completions"} 2',
  "# TYPE magnet_first_token_seconds histogram",
  'magnet_first_token_seconds_sum{model="fake"} 0',
  'magnet_first_token_seconds_count{model="fake"} 1',
  "# TYPE magnet_answer_phase_seconds histogram",
  'magnet_answer_phase_seconds_sum{model="fake",phase="queued"} 0.001',
  'magnet_answer_phase_seconds_count{model="fake",phase="queued"} 1',
  'magnet_answer_phase_seconds_sum{model="fake",phase="prefill"} 0.02',
  'magnet_answer_phase_seconds_count{model="fake",phase="prefill"} 1',
  'magnet_answer_phase_seconds_sum{model="fake",phase="decode"} 0.3',
  'magnet_answer_phase_seconds_count{model="fake",phase="decode"} 1',
  "# TYPE magnet_http_cancelled_total counter",
  "# TYPE magnet_http_errors_total counter",
  'magnet_http_errors_total{code="model_not_found"} 1',
  "# TYPE magnet_http_requests_in_flight gauge",
  "magnet_http_requests_in_flight 1",
  "# TYPE magnet_build_info gauge",
  'magnet_build_info{version="0.0.0-test"} 1',
  "# TYPE magnet_ready gauge",
  "magnet_ready 1",
  "# TYPE process_resident_memory_bytes gauge",
  "process_resident_memory_bytes N",
  "# TYPE magnet_sequences_running gauge",
  'magnet_sequences_running{model="fake"} 1',
  "# TYPE magnet_sequences_waiting gauge",
  'magnet_sequences_waiting{model="fake"} 0',
  "# TYPE magnet_kv_blocks gauge",
  'magnet_kv_blocks{model="fake"} 8',
  "# TYPE magnet_kv_blocks_in_use gauge",
  'magnet_kv_blocks_in_use{model="fake"} 2',
  "# TYPE magnet_kv_blocks_cached gauge",
  'magnet_kv_blocks_cached{model="fake"} 0',
  "# TYPE magnet_native_handles gauge",
  'magnet_native_handles{model="fake"} 2',
  "# TYPE magnet_prompt_tokens_total counter",
  'magnet_prompt_tokens_total{model="fake"} 3',
  "# TYPE magnet_cached_tokens_total counter",
  'magnet_cached_tokens_total{model="fake"} 0',
  "# TYPE magnet_completion_tokens_total counter",
  'magnet_completion_tokens_total{model="fake"} 0',
  "# TYPE magnet_engine_steps_total counter",
  'magnet_engine_steps_total{model="fake"} 5',
];
