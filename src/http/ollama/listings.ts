/** The served models as Ollama lists them. */
import { CHAT_TEMPLATE } from "../../model/chat-template.ts";
import type { ServedModel } from "../serve/served-model.ts";

/** Ollama's mark of a model that is never unloaded is a time that never comes. */
const NEVER = "9999-12-31T23:59:59Z";

const modifiedAt = ({ created_s }: ServedModel) => new Date(created_s * 1000).toISOString();

/** 618_000_000 as "618.0M". */
function parameterSize(parameters: number): string {
  if (parameters >= 1e9) return `${(parameters / 1e9).toFixed(1)}B`;
  if (parameters >= 1e6) return `${(parameters / 1e6).toFixed(1)}M`;
  return `${(parameters / 1e3).toFixed(1)}K`;
}

const details = ({ format, config, parameters }: ServedModel) => ({
  parent_model: "",
  format,
  family: config.variant,
  families: [config.variant],
  parameter_size: parameterSize(parameters),
  quantization_level: config.quant === "none" ? "F32" : "ternary",
});

const listed = (model: ServedModel) => ({
  name: `${model.id}:latest`,
  model: `${model.id}:latest`,
  modified_at: modifiedAt(model),
  size: model.size_bytes,
  digest: model.digest,
  details: details(model),
});

export const tags = (models: readonly ServedModel[]): object => ({ models: models.map(listed) });

export const processes = (models: readonly ServedModel[]): object => ({
  models: models.map((model) => ({
    ...listed(model),
    expires_at: NEVER,
    size_vram: model.on_gpu ? model.size_bytes : 0,
    context_length: model.context,
  })),
});

export function show(model: ServedModel): object {
  const { config } = model;
  const arch = config.variant;
  return {
    license: "",
    modelfile: `# served by magnet\nFROM ${model.id}\n`,
    parameters: "",
    template: model.has_chat_format ? CHAT_TEMPLATE : "{{ .Prompt }}",
    system: "",
    details: details(model),
    messages: [],
    modified_at: modifiedAt(model),
    model_info: {
      "general.architecture": arch,
      "general.basename": model.id,
      "general.parameter_count": model.parameters,
      [`${arch}.context_length`]: model.context,
      [`${arch}.embedding_length`]: config.d_model,
      [`${arch}.block_count`]: config.n_layers,
      [`${arch}.feed_forward_length`]: config.d_ff,
      [`${arch}.attention.head_count`]: config.n_heads,
      [`${arch}.attention.head_count_kv`]: config.n_kv_heads,
      [`${arch}.vocab_size`]: config.vocab_size,
    },
    capabilities: ["completion", "embedding"],
  };
}
