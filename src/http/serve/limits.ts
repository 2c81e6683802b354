/** Limits of the server, each with its reason and with what happens at it. One place for all. */

export interface ServeLimits {
  /** Bytes of a request body: a long context's text, read within tens of ms. 413 beyond. */
  body_bytes: number;
  /** Time for a body to arrive, so that a dripping client cannot hold a place. 408 beyond. */
  body_ms: number;
  /** Requests in work at once, all routes together but /health. 503 beyond, with Retry-After. */
  requests_max: number;
  /** Requests a minute of one key or address; 0 = no limit. 429 beyond, with Retry-After. */
  requests_per_minute: number;
  /** Requests at once of one key or address; 0 = no limit. 429 beyond. */
  requests_per_client: number;
  /** Longest time of an answer from first to last byte. The stream ends with an error. */
  answer_ms: number;
  /** Time that a reader may take no byte while its buffer is full. Its stream is dropped. */
  stall_ms: number;
  /** Bytes that wait for one reader. Generation of that answer waits beyond. */
  stream_buffer_bytes: number;
  /** How long running answers may go on after the server was told to stop; then cancelled. */
  grace_ms: number;
}

export const DEFAULT_LIMITS: ServeLimits = {
  body_bytes: 2 << 20,
  body_ms: 30_000,
  requests_max: 512,
  requests_per_minute: 0,
  requests_per_client: 0,
  answer_ms: 3_600_000,
  stall_ms: 30_000,
  stream_buffer_bytes: 256 << 10,
  grace_ms: 10_000,
};

/** Nesting of a request's JSON: messages and schemas need few levels. 400 beyond. */
export const JSON_DEPTH_MAX = 64;
/** Values in a request's JSON: token ids of many prompts. 400 beyond. */
export const JSON_VALUES_MAX = 1_000_000;
/** Names of one object of a request: a schema's properties, a bias's tokens. 400 beyond. */
export const JSON_NAMES_MAX = 4096;
/** Choices of one request (`n` times its prompts): each is a sequence of its own. 400 beyond. */
export const CHOICES_MAX = 128;
/** Messages of a chat. 400 beyond. */
export const MESSAGES_MAX = 4096;
/** Stop strings of a request. OpenAI takes 4; 400 beyond ours. */
export const STOPS_MAX = 16;
/** Characters of a stop string: text is held back for as long as one may begin. 400 beyond. */
export const STOP_LENGTH_MAX = 512;
/** Texts of one embedding request, as OpenAI has it. 400 beyond. */
export const EMBEDDING_INPUTS_MAX = 2048;
/** Alternatives with each token, as OpenAI and the library have it. 400 beyond. */
export const TOP_LOGPROBS_MAX = 20;
/** Clients whose rate is remembered; at the limit those that are rested are forgotten. */
export const RATE_CLIENTS_MAX = 10_000;
/** Seconds without a byte either way after which a connection without a request is closed. */
export const IDLE_TIMEOUT_S = 30;
