/**
 * What counts as an answer of an RPC. A proxy's error page, another service on that port or a
 * broken node must show up here, as an RPC that is down, and not as a wrong number further in.
 */

/** Far above any answer that is asked for; more would fill the memory. */
const ANSWER_BYTES_MAX = 64 << 20;

export interface Answer {
  result?: unknown;
  error?: { code?: unknown; message?: unknown; data?: unknown };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isQuantity = (value: unknown) =>
  typeof value === "string" && /^0x[0-9a-f]{1,64}$/i.test(value);
const isBytes = (value: unknown) => typeof value === "string" && /^0x([0-9a-f]{2})*$/i.test(value);
const isHash = (value: unknown) => typeof value === "string" && /^0x[0-9a-f]{64}$/i.test(value);

type Check = (result: unknown, params: readonly unknown[]) => boolean;

/** Null is an answer too (a block that is unknown), but the newest one always exists. */
const isBlock: Check = (block, [which]) => {
  if (block === null) return which !== "latest" && which !== "pending";
  if (!isObject(block) || !isQuantity(block.timestamp)) return false;
  // Some nodes give the block that they are making no number and no hash yet.
  return which === "pending" || (isQuantity(block.number) && isHash(block.hash));
};
const isLog = (log: unknown) =>
  isObject(log) &&
  [log.blockNumber, log.logIndex, log.transactionIndex].every(isQuantity) &&
  isHash(log.transactionHash) &&
  isBytes(log.data) &&
  Array.isArray(log.topics) &&
  log.topics.every(isHash);
const isReceipt: Check = (receipt) =>
  receipt === null ||
  (isObject(receipt) &&
    [receipt.status, receipt.blockNumber, receipt.gasUsed].every(isQuantity) &&
    isHash(receipt.blockHash));

const CHECKS: Readonly<Record<string, Check>> = {
  eth_chainId: isQuantity,
  eth_blockNumber: isQuantity,
  eth_gasPrice: isQuantity,
  eth_maxPriorityFeePerGas: isQuantity,
  eth_estimateGas: isQuantity,
  eth_getTransactionCount: isQuantity,
  eth_getBalance: isQuantity,
  eth_call: isBytes,
  eth_getCode: isBytes,
  eth_sendRawTransaction: isHash,
  eth_getBlockByNumber: isBlock,
  eth_getBlockByHash: isBlock,
  eth_getLogs: (logs) => Array.isArray(logs) && logs.every(isLog),
  eth_getTransactionReceipt: isReceipt,
  web3_clientVersion: (version) => typeof version === "string",
};

/** The body as text, in pieces, whatever length it claims. */
async function limitedText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, length] = ["", 0];
  for await (const part of response.body ?? []) {
    length += part.byteLength;
    // Leaving the loop cancels the body.
    if (length > ANSWER_BYTES_MAX)
      throw new Error(`an answer above ${ANSWER_BYTES_MAX >> 20} MiB: is this an RPC?`);
    text += decoder.decode(part, { stream: true });
  }
  return text + decoder.decode();
}

/** Throws what is wrong with it, in a few words. */
export async function readAnswer(
  response: Response,
  method: string,
  params: readonly unknown[],
): Promise<Answer> {
  const text = await limitedText(response);
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Error(`HTTP ${response.status} without JSON: is this an RPC?`);
  }
  // Some answer an error of the call with HTTP 4xx or 5xx: the body decides.
  if (!isObject(answer) || !("result" in answer || "error" in answer))
    throw new Error(`HTTP ${response.status} without result or error`);
  const { error, result } = answer;
  if (error !== undefined && error !== null) {
    if (isObject(error)) return { error };
    throw new Error(`an error without a code: is this an RPC?`);
  }
  if (CHECKS[method]?.(result, params) ?? true) return { result };
  throw new Error(`${method} was answered with something else: is this an RPC?`);
}
