// Runs a GGUF file through llama.cpp (node-llama-cpp's prebuilt library, CPU, nothing downloaded or built)
// for comparison with our own inference. Run by bun or node from this folder:
//   llama-cpp-logits.mjs MODEL REQUEST.json OUT.f32
// REQUEST: {"tokens": [...], "texts": [...]}. OUT gets the logits of every position, (tokens, vocab)
// float32; stdout one line of JSON: {"runtime", "type", "tokenized": ids of every text}.
import fs from "node:fs";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [, , file, requestFile, out] = process.argv;
const { tokens, texts } = JSON.parse(fs.readFileSync(requestFile, "utf8"));
const llama = await getLlama({
  gpu: false,
  build: "never",
  usePrebuiltBinaries: true,
  skipDownload: true,
  logLevel: LlamaLogLevel.error,
  progressLogs: false,
});
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: 256,
  batchSize: 64,
  threads: 1,
  flashAttention: false,
});
const sequence = context.getSequence();
const wanted = { generateNext: { token: true, logits: true, options: { temperature: 0 } } };
const results = await sequence.controlledEvaluate(tokens.map((token) => [token, wanted]));
const rows = results.map((result) => {
  const row = [];
  for (const [token, value] of result.next.logits) row[token] = value;
  return row;
});
fs.writeFileSync(out, new Uint8Array(Float32Array.from(rows.flat()).buffer));
const runtime = process.versions.bun ? `bun ${process.versions.bun}` : `node ${process.version}`;
const tokenized = texts.map((text) => [...model.tokenize(text, false)]);
process.stdout.write(`${JSON.stringify({ runtime, type: model.typeDescription, tokenized })}\n`);
await context.dispose();
await model.dispose();
await llama.dispose();
process.exit(0);
