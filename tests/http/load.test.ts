/** A few seconds of the load test (its full minute: tests/stress/serve.ts), in one process. */
import { expect, test } from "bun:test";
import { problems, runLoad } from "../stress/load.ts";
import { serve, smallModel } from "./serve-fixture.ts";

/** Everything runs in this process on a busy machine; the bench holds /health to 50 ms. */
const HEALTH_P99_MAX_MS = 500;

test("64 streaming clients, half of them hanging up: right texts, no leak, /health answers", async () => {
  const server = await serve([await smallModel()]);
  try {
    const load = { url: server.url, model: "small", clients: 64, duration_ms: 2500 };
    const report = await runLoad(load);
    expect(problems(report, HEALTH_P99_MAX_MS)).toEqual([]);
    expect(server.app.in_flight).toBe(0);
  } finally {
    await server.close();
  }
});
