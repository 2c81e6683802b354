/**
 * Worker thread that asks /health again and again while others load the server: its own event loop
 * keeps the clients' work out of the measured times.
 */
declare const self: Worker;

let running = true;
const latencies_ms: number[] = [];
let failures = 0;

async function probe(url: string, every_ms: number): Promise<void> {
  while (running) {
    const start_ms = performance.now();
    try {
      const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(10_000) });
      await response.text();
      if (response.status !== 200) failures++;
    } catch {
      failures++;
    }
    const took_ms = performance.now() - start_ms;
    latencies_ms.push(took_ms);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, every_ms - took_ms)));
  }
  postMessage({ latencies_ms, failures });
}

self.addEventListener("message", (event: MessageEvent) => {
  if (event.data === "stop") running = false;
  else void probe(event.data.url, event.data.every_ms);
});
