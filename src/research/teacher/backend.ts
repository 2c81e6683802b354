/**
 * Who answers: one call, a question in and a text out, over the AI SDK's providers. The key goes to
 * the configured address only: no redirect is followed, and none leaves this machine without TLS.
 */
import net from "node:net";
import type { LanguageModel } from "ai";
import { MagnetError } from "../../core/errors.ts";
import { TEACHER_LIMITS } from "./limits.ts";
import type { TeacherSettings } from "./settings.ts";

export interface TeacherQuestion {
  readonly system: string;
  readonly prompt: string;
  readonly answer_tokens: number;
  readonly temperature: number;
  readonly seed: number;
}
export interface TeacherAnswer {
  readonly text: string;
  readonly input_tokens: number;
  readonly output_tokens: number;
}
export interface TeacherBackend {
  /** Throws TEACHER_FAILED, retryable where another try may help. */
  ask(question: TeacherQuestion, signal?: AbortSignal): Promise<TeacherAnswer>;
}

const KEY_VARIABLE = {
  claude: "ANTHROPIC_API_KEY",
  openai: "OPENAI_API_KEY",
  network: "MAGNET_API_KEY",
} as const;
/** Where `magnet serve` listens unless told otherwise. */
const NETWORK_URL = "http://127.0.0.1:8080/v1";

function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "");
  return bare === "localhost" || bare === "::1" || (net.isIPv4(bare) && bare.startsWith("127."));
}

/** The body, at most so many bytes of it. */
async function limitedBody(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > TEACHER_LIMITS.body_bytes)
      throw new MagnetError(
        "TEACHER_FAILED",
        `the teacher's answer is longer than ${TEACHER_LIMITS.body_bytes} bytes`,
      );
    parts.push(part);
  }
  return Uint8Array.from(Buffer.concat(parts));
}

const limitedFetch = async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
  const response = await fetch(url, { ...init, redirect: "error" });
  const { status, statusText, headers } = response;
  const plain = new Headers(headers);
  plain.delete("content-encoding"); // the body is already decoded
  plain.delete("content-length");
  return new Response(await limitedBody(response), { status, statusText, headers: plain });
};

/** Hosts that a key of the environment goes to without being asked for: the keys' own providers. */
const KEY_HOSTS: readonly string[] = ["api.anthropic.com", "api.openai.com"];

/**
 * A task file may come from a stranger, and so may the address in it: a key leaves for the
 * provider's host, this machine, and hosts that the user has named, and for no other.
 */
function requireTrusted(url: URL, trusted_hosts: readonly string[]): void {
  if (isLoopback(url.hostname) || [...KEY_HOSTS, ...trusted_hosts].includes(url.hostname)) return;
  throw new MagnetError("TEACHER_NOT_TRUSTED", `the teacher at ${url.hostname} would get a key`, {
    hint: `if the key is meant for it: --teacher-host ${url.hostname}`,
    exit: "auth",
  });
}

async function modelOf(
  settings: TeacherSettings,
  { env, trusted_hosts }: BackendOptions,
): Promise<LanguageModel> {
  const variable = settings.key_env ?? KEY_VARIABLE[settings.backend];
  const apiKey = env[variable];
  const needsKey = settings.backend === "claude" || settings.key_env !== undefined;
  if (needsKey && !apiKey)
    throw new MagnetError("NO_TEACHER_KEY", `${variable} is not set`, {
      hint: `export ${variable}=..., or leave the teacher out: research works without one`,
      exit: "auth",
    });
  const base = settings.base_url ?? (settings.backend === "network" ? NETWORK_URL : undefined);
  const url = base === undefined ? null : new URL(base);
  if (apiKey && url?.protocol === "http:" && !isLoopback(url.hostname))
    throw new MagnetError("TEACHER_NOT_SECRET", `a key would go to ${url.host} unencrypted`, {
      hint: "use https, or an address of this machine",
      exit: "config",
    });
  if (apiKey && url) requireTrusted(url, trusted_hosts);
  const fetchLimited = limitedFetch as typeof fetch;
  if (settings.backend === "claude") {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    const options = base === undefined ? {} : { baseURL: base };
    return createAnthropic({ apiKey: apiKey!, fetch: fetchLimited, ...options })(settings.model);
  }
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const key = apiKey ? { apiKey } : {};
  const name = settings.backend;
  return createOpenAICompatible({ name, baseURL: base!, fetch: fetchLimited, ...key })(
    settings.model,
  );
}

/** One sentence of what a provider's error says; never headers, which hold the key. */
function failure(error: unknown): MagnetError {
  if (error instanceof MagnetError) return error;
  const { statusCode, isRetryable, message, name } = error as {
    statusCode?: number;
    isRetryable?: boolean;
    message?: string;
    name?: string;
  };
  const retryable = isRetryable === true || name === "TimeoutError" || statusCode === undefined;
  const what = statusCode === undefined ? "" : `HTTP ${statusCode}: `;
  return new MagnetError("TEACHER_FAILED", `the teacher: ${what}${(message ?? "").slice(0, 300)}`, {
    hint:
      statusCode === 401 || statusCode === 403
        ? "check the key"
        : "check base_url, model and whether the server runs",
    retryable,
    exit: statusCode === 401 || statusCode === 403 ? "auth" : "unreachable",
  });
}

export interface BackendOptions {
  readonly env: Record<string, string | undefined>;
  /** Further hosts that may get the key, as the user named them. */
  readonly trusted_hosts: readonly string[];
}

/**
 * A backend that asks the configured server. Throws NO_TEACHER_KEY, TEACHER_NOT_SECRET,
 * TEACHER_NOT_TRUSTED.
 */
export async function openBackend(
  settings: TeacherSettings,
  options: BackendOptions,
): Promise<TeacherBackend> {
  const model = await modelOf(settings, options);
  const { generateText } = await import("ai");
  return {
    async ask(question, signal) {
      const deadline = AbortSignal.timeout(TEACHER_LIMITS.call_ms);
      try {
        const { text, usage } = await generateText({
          model,
          system: question.system,
          prompt: question.prompt,
          maxOutputTokens: question.answer_tokens,
          temperature: question.temperature,
          // Anthropic's API has no seed.
          ...(settings.backend === "claude" ? {} : { seed: question.seed }),
          maxRetries: TEACHER_LIMITS.retries,
          abortSignal: signal ? AbortSignal.any([signal, deadline]) : deadline,
        });
        return {
          text,
          input_tokens: usage.inputTokens ?? 0,
          output_tokens: usage.outputTokens ?? 0,
        };
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        const reason = (error as { lastError?: unknown }).lastError ?? error;
        throw failure(reason);
      }
    },
  };
}
