/**
 * The models of a server: loaded one after the other after the port is open, so that /health
 * answers and /ready tells how far it is. A model that cannot be loaded stops the server's start.
 */
import { MagnetError } from "../../core/errors.ts";
import { ApiError, busy } from "./api-error.ts";
import type { ServedModel } from "./served-model.ts";

export interface ModelSource {
  /** The name that requests use; unique among a server's models. */
  id: string;
  load(): Promise<ServedModel>;
}

/** Names that go into URLs and listings. */
const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;
/** What a client is told to wait while a model loads. */
const LOADING_RETRY_S = 2;

export class ModelHost {
  readonly #models = new Map<string, ServedModel>();
  #closed = false;

  /** Throws BAD_MODEL_NAME on a name that is not usable or stands twice. */
  constructor(private readonly sources: readonly ModelSource[]) {
    if (sources.length === 0)
      throw new MagnetError("NO_MODEL", "a server needs at least one model", { exit: "usage" });
    const ids = new Set<string>();
    for (const { id } of sources) {
      if (!ID_PATTERN.test(id) || ids.has(id))
        throw new MagnetError(
          "BAD_MODEL_NAME",
          `${JSON.stringify(id)} is ${ids.has(id) ? "taken twice" : "not usable"} as a model's name`,
          { hint: "a name has letters, digits and . _ - / and no model shares it", exit: "usage" },
        );
      ids.add(id);
    }
  }

  /** Loads what is not loaded yet; rejects with the first failure. */
  async load(): Promise<void> {
    for (const source of this.sources) {
      if (this.#closed) return;
      const model = await source.load();
      if (this.#closed) return model.close();
      this.#models.set(source.id, model);
    }
  }

  get ready(): boolean {
    return !this.#closed && this.#models.size === this.sources.length;
  }

  /** The loaded ones, in the order of their sources. */
  list(): readonly ServedModel[] {
    return this.sources.flatMap(({ id }) => this.#models.get(id) ?? []);
  }

  /** Throws 404 `model_not_found`, or 503 while the model loads. `name:latest` is `name`. */
  find(name: string): ServedModel {
    const id = name.replace(/:latest$/, "");
    const model = this.#models.get(id);
    if (model) return model;
    if (this.sources.some((source) => source.id === id))
      throw busy(503, "model_loading", `the model ${id} is being loaded`, LOADING_RETRY_S);
    const known = this.sources.map((source) => source.id).join(", ");
    const shown = JSON.stringify(name.slice(0, 128));
    throw new ApiError(
      404,
      "model_not_found",
      `no model ${shown} is served here; there is: ${known}`,
      {
        param: "model",
      },
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    const models = [...this.#models.values()];
    this.#models.clear();
    for (const model of models) await model.close();
  }
}
