// Runs GGUF files through llama.cpp (node-llama-cpp's prebuilt library, CPU, nothing downloaded or
// built) for comparison with our own inference. Run by bun or node from this folder:
//   llama-cpp-logits.mjs REQUEST.json
// REQUEST: {"jobs": [{"model", "tokens", "out", "texts"}]}. Each job's `out` gets the logits of
// every position, (tokens, vocab) float32; stdout one line of JSON: {"runtime", "library", "jobs":
// [{"type", "tokenized": ids of every text}]}.
// llama.cpp's sums depend on the CPU (it picks one of its libraries by what the CPU can do) and on
// how many tokens are evaluated at once. Both are fixed here: the library for AVX2 CPUs, one token
// at a time.
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { getBinsDir } from "@node-llama-cpp/linux-x64";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const LIBRARY = "libggml-cpu-haswell.so";

/** From a folder where llama.cpp finds no other library; getLlama then looks no further. */
function loadLibrary() {
  const bins = path.join(getBinsDir().binsDir, "linux-x64");
  const only = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-ggml-"));
  try {
    fs.symlinkSync(path.join(bins, LIBRARY), path.join(only, LIBRARY));
    createRequire(import.meta.url)(path.join(bins, "llama-addon.node")).loadBackends(only);
  } finally {
    fs.rmSync(only, { recursive: true });
  }
  if (!loadedLibraries().includes(LIBRARY))
    throw new Error(`${LIBRARY} was not loaded: it needs a CPU with AVX2, FMA and F16C`);
}

function loadedLibraries() {
  const maps = fs.readFileSync("/proc/self/maps", "utf8");
  return [...new Set(maps.match(/libggml-cpu[\w-]*\.so/g))].join(" ");
}

async function logitsOf(model, tokens) {
  const context = await model.createContext({
    contextSize: 256,
    batchSize: 64,
    threads: 1,
    flashAttention: false,
  });
  const sequence = context.getSequence();
  const wanted = { generateNext: { token: true, logits: true, options: { temperature: 0 } } };
  const rows = [];
  for (const token of tokens) {
    const [{ next }] = await sequence.controlledEvaluate([[token, wanted]]);
    const row = [];
    for (const [id, value] of next.logits) row[id] = value;
    rows.push(row);
  }
  await context.dispose();
  return Float32Array.from(rows.flat());
}

const { jobs } = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
loadLibrary();
const llama = await getLlama({
  gpu: false,
  build: "never",
  usePrebuiltBinaries: true,
  skipDownload: true,
  logLevel: LlamaLogLevel.error,
  progressLogs: false,
});
const answers = [];
for (const { model: modelPath, tokens, texts, out } of jobs) {
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  fs.writeFileSync(out, new Uint8Array((await logitsOf(model, tokens)).buffer));
  const tokenized = texts.map((text) => [...model.tokenize(text, false)]);
  answers.push({ type: model.typeDescription, tokenized });
  await model.dispose();
}
await llama.dispose();
const runtime = process.versions.bun ? `bun ${process.versions.bun}` : `node ${process.version}`;
const library = loadedLibraries();
const answer = `${JSON.stringify({ runtime, library, jobs: answers })}\n`;
// To a socket the write goes on in the background: exiting at once has lost all of it.
process.stdout.write(answer, () => process.exit(0));
