/**
 * What the chain refuses, as the one error type of this house: the contract's own error by its name
 * (`BondTooSmall` becomes BOND_TOO_SMALL) with its arguments in words and what to do about it.
 */
import { type Abi, decodeErrorResult, type Hex } from "viem";
import { MagnetError } from "../../core/errors.ts";
import { formatMag } from "../amounts.ts";
import { formatChainTime } from "../chain-time.ts";
import { CONTRACTS } from "./abis.ts";
import { RpcFailure } from "./rpc.ts";

/** A call that a contract reverted. */
export class RevertError extends MagnetError {
  constructor(
    code: string,
    message: string,
    options: { hint?: string; retryable?: boolean; cause?: unknown },
    /** The contract's error and its arguments by name; "" where it gave none that is known. */
    readonly reverted: { name: string; args: Readonly<Record<string, unknown>> },
  ) {
    super(code, message, { ...options, exit: "chain" });
  }
}

const ERRORS = Object.values(CONTRACTS)
  .flatMap(({ abi }) => abi as Abi)
  .filter((entry) => entry.type === "error");

/** What to do, by the error's name. */
const HINTS: Record<string, string> = {
  "AlreadyRegistered contentHash": "this very file has a record: magnet chain data list",
  AlreadyRegistered: "this key is a node already: magnet chain bond adds to its bond",
  NotRegistered: "register first: magnet chain register --bond AMOUNT",
  NotActive: "its bond is below its tier's least: magnet chain bond AMOUNT",
  BondTooSmall: "not more than the bond can be taken; params show lists each tier's least",
  ZeroAmount: "name an amount above 0",
  StillUnbonding: "wait until then; until then it can still be slashed",
  NothingToWithdraw: "magnet chain unbond AMOUNT comes first",
  NoSeat: "bond more than the least of the 31 seats",
  UnderDispute: "wait for the dispute to end: magnet chain dispute list",
  Banned: "a node that lost its whole bond stays out; another key is another node",
  KeyNotOfCaller: "the transaction must be signed by the key that is registered",
  WindowClosed: "magnet chain epoch shows the windows",
  NothingToClaim: "claims are against the newest final root: magnet chain epoch",
  InvalidProof: "the proof must come from the record of the newest final epoch",
  NotYet: "the draw waits for a block that lies ahead: try again",
  WrongPhase: "magnet chain dispute show ID tells its phase",
  NotOnPanel: "only the drawn notaries vote",
  AlreadyDisputed: "magnet chain dispute list shows it",
  VoteDoesNotMatch: "reveal the vote that was committed",
  UnknownDispute: "magnet chain dispute list",
  UnknownRecord: "magnet chain data list",
  UnknownJob: "magnet chain jobs list",
  WrongState: "magnet chain jobs list (or data list) shows what is next",
  WindowOpen: "wait until then; until then it can be disputed",
  WindowOver: "it was open until then",
  DeadlinePassed: "magnet chain jobs settle refunds it",
  DeadlineAhead: "wait until then",
  NotWorker: "only the node that took the job hands in its result",
  NotRequester: "only who created the job may",
  NotChallengeable: "only a settled epoch whose challenge window is open: magnet chain epoch",
  OwnCase: "who signed, brought or is accused of something does not take part in it",
  WrongAccused: "accuse the one that is named as expected",
  AlreadyVoted: "one vote each; the same command opens it once votes are opened",
  NotSigner: "only who signed the rejected root can be accused of it",
  NotAnOffence: "the chain judges this one itself, or the subject does not fit the offence",
  ERC20InsufficientBalance: "the account holds fewer MAG than that",
  ERC20InsufficientAllowance: "another command used it up: run the same one again",
  OutOfBounds: "the contract's bounds are in Params.sol; the field is named",
  AuthorizationUsedOrCanceled: "this payment was taken before: sign a new one",
  AuthorizationExpired: "sign a new payment",
};
/** Errors that time alone may cure. */
const RETRYABLE = new Set(["NotYet", "NotProposer", "StillUnbonding", "OutOfOrder"]);
/** Arguments that are amounts of MAG. */
const AMOUNTS = new Set(
  "bond least leastBondOfSeats total expected balance needed allowance claimed value reward".split(
    " ",
  ),
);

/** Arguments that are seconds of the chain's clock. */
const TIMES = new Set("until releaseTime deadline opens closes validAfter validBefore".split(" "));

const screaming = (name: string) =>
  name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1_$2")
    .toUpperCase();

/** A bytes32 that holds a short name, as `OutOfBounds(field)` does. */
function shortText(value: string): string | undefined {
  const digits = value.slice(2).replace(/(00)+$/, "");
  const text = Buffer.from(digits, "hex").toString("latin1");
  return /^[\x21-\x7e]{2,32}$/.test(text) ? text : undefined;
}

function argumentText(name: string, value: unknown): string {
  if (AMOUNTS.has(name) && typeof value === "bigint") return `${name} ${formatMag(value)} MAG`;
  if (TIMES.has(name) && typeof value === "bigint") return `${name} ${formatChainTime(value)}`;
  if (name === "field" && typeof value === "string") return `${name} ${shortText(value) ?? value}`;
  return name === "" ? String(value) : `${name} ${String(value)}`;
}

/** The bytes a revert carries, wherever a node of some make puts them. */
export function revertData(error: unknown): Hex | undefined {
  let data = (error as { data?: unknown }).data;
  for (let depth = 0; depth < 4 && typeof data === "object" && data !== null; depth++)
    data =
      (data as { data?: unknown; result?: unknown }).data ?? (data as { result?: unknown }).result;
  return typeof data === "string" && /^0x[0-9a-f]*$/i.test(data) ? (data as Hex) : undefined;
}

/** Revert bytes as an error; `what` names the call ("Nodes.register"). */
export function decodeRevert(data: Hex, what: string, cause?: unknown): RevertError {
  if (data === "0x")
    return new RevertError(
      "REVERTED",
      `${what} reverted without a reason`,
      { hint: "is there a contract at this address? magnet chain params show checks it", cause },
      { name: "", args: {} },
    );
  let decoded: { errorName: string; args?: readonly unknown[] | undefined; abiItem: unknown };
  try {
    decoded = decodeErrorResult({ abi: ERRORS, data }) as typeof decoded;
  } catch {
    const message = `${what} reverted with an unknown error ${data.slice(0, 10)}`;
    return new RevertError("REVERTED", message, { cause }, { name: "", args: {} });
  }
  const { errorName: name, args: values = [] } = decoded;
  const inputs = (decoded.abiItem as { inputs?: { name?: string }[] }).inputs ?? [];
  const named = values.map((value, i) => [inputs[i]?.name ?? "", value] as const);
  const text = named.map(([argument, value]) => argumentText(argument, value)).join(", ");
  // Error(string) is a require with a text, Panic(uint256) an assertion of the compiler.
  const code = name === "Error" || name === "Panic" ? "REVERTED" : screaming(name);
  const hint = HINTS[`${name} ${named[0]?.[0]}`] ?? HINTS[name];
  const options = {
    ...(hint !== undefined && { hint }),
    retryable: RETRYABLE.has(name),
    cause,
  };
  const said = name === "Error" ? String(values[0]) : `${name}${text === "" ? "" : ` (${text})`}`;
  const message = `${what} reverted: ${said}`;
  return new RevertError(code, message, options, { name, args: Object.fromEntries(named) });
}

/** Any failure of a call to the chain as a MagnetError; `what` says what was being done. */
export function chainError(error: unknown, what: string): MagnetError {
  if (!(error instanceof RpcFailure)) {
    if (error instanceof MagnetError) return error;
    throw error; // a bug of ours: its own trace says more
  }
  const data = revertData(error);
  if (data !== undefined) return decodeRevert(data, what, error);
  if (/insufficient (funds|balance|MaxFeePerGas)/i.test(error.message))
    return new MagnetError("INSUFFICIENT_FUNDS", `${what}: ${error.message}`, {
      hint: "the account cannot pay the fee: send it some of the chain's own coin",
      retryable: true,
      exit: "chain",
      cause: error,
    });
  if (/revert/i.test(error.message) || error.code === 3)
    return new RevertError(
      "REVERTED",
      `${what}: ${error.message}`,
      { cause: error },
      { name: "", args: {} },
    );
  return new MagnetError("RPC_ERROR", `${what}: ${error.method}: ${error.message}`, {
    hint: "the RPC refuses the request; another one may not: --rpc",
    exit: "chain",
    cause: error,
  });
}

/** Runs a call to the chain; its failures come out as MagnetError. */
export async function onChain<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw chainError(error, what);
  }
}
