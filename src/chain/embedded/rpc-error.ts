/**
 * What a JSON-RPC caller did wrong or ran into, with the code that clients know. Its message goes to
 * the caller as it is, so it names no file and no inner state.
 */

/** Codes of JSON-RPC 2.0 and of EIP-1474; 3 is what every Ethereum node answers to a revert. */
export const RPC_CODE = {
  parse_error: -32700,
  invalid_request: -32600,
  method_not_found: -32601,
  invalid_params: -32602,
  internal: -32603,
  /** The transaction or call was refused. */
  server: -32000,
  limit_exceeded: -32005,
  reverted: 3,
} as const;

export class RpcError extends Error {
  readonly code: number;
  /** Revert data as hex, where there is some. */
  readonly data: string | undefined;

  constructor(kind: keyof typeof RPC_CODE, message: string, data?: string) {
    super(message);
    this.name = "RpcError";
    this.code = RPC_CODE[kind];
    this.data = data;
  }
}

/** The caller's parameters are not what the method takes. */
export const badParams = (message: string) => new RpcError("invalid_params", message);
/** The transaction is refused; nothing of it stays. */
export const refused = (message: string) => new RpcError("server", message);
/** More was asked for than one request may have. */
export const tooMuch = (message: string) => new RpcError("limit_exceeded", message);
