/**
 * Is this deployment the ledger that this program was built with, and is it wired to itself? Each
 * contract's code is compared with the compiled one but for its immutables, then every address that
 * a contract holds of another, the roles, and the clock are read back.
 */
import type { Address, Hex } from "viem";
import { MagnetError } from "../../core/errors.ts";
import { CONTRACTS, type CompiledContract, type ReadName } from "./abis.ts";
import { CONTRACT_FIELDS, type ContractName } from "./deployment.ts";
import { onChain } from "./errors.ts";
import type { Ledger } from "./ledger.ts";

const DEFAULT_ADMIN = `0x${"00".repeat(32)}` as const;
const ANYONE = "0x0000000000000000000000000000000000000000";

const notOurs = (what: string, hint: string) =>
  new MagnetError("LEDGER_DIFFERS", what, { hint, exit: "chain" });

/** Code with the places of immutables blanked. */
function masked(code: Hex, { immutables }: Pick<CompiledContract, "immutables">): string {
  let text: string = code;
  for (const [start, length] of immutables) {
    const from = 2 + 2 * start;
    text = text.slice(0, from) + "0".repeat(2 * length) + text.slice(from + 2 * length);
  }
  return text;
}

async function checkCode(ledger: Ledger, name: ContractName): Promise<void> {
  const address = ledger.address(name);
  const code = await onChain(`code of ${name}`, () =>
    ledger.rpc.request<Hex>("eth_getCode", [address, "latest"]),
  );
  const field = CONTRACT_FIELDS[name];
  if (code === "0x")
    throw notOurs(`there is no code at ${address} (${field})`, "was the chain started anew?");
  const compiled = CONTRACTS[name];
  if (masked(code, compiled) !== masked(compiled.deployed, compiled))
    throw notOurs(
      `the code at ${address} is not this program's ${field}`,
      "the ledger was deployed by another version of magnet; use that one, or deploy anew",
    );
}

type Wire = [name: ContractName, getter: string, target: ContractName];
/** Which contract holds the address of which, by the getter's name. */
const WIRES: readonly Wire[] = [
  ["magToken", "minter", "epochs"],
  ["voteMag", "underlying", "magToken"],
  ["governor", "token", "voteMag"],
  ["governor", "timelock", "timelock"],
  ["params", "owner", "timelock"],
  ["params", "treasury", "timelock"],
  ...(["nodes", "epochs", "dataRegistry", "revenue"] as const).flatMap((name): Wire[] => [
    [name, "token", "magToken"],
    [name, "params", "params"],
    [name, "disputes", "disputes"],
  ]),
  ["epochs", "nodes", "nodes"],
  ["dataRegistry", "nodes", "nodes"],
  ["revenue", "nodes", "nodes"],
  ["disputes", "token", "magToken"],
  ["disputes", "params", "params"],
  ["disputes", "nodes", "nodes"],
  ["disputes", "epochs", "epochs"],
  ["disputes", "dataRegistry", "dataRegistry"],
  ["disputes", "revenue", "revenue"],
];

async function checkWire(ledger: Ledger, [name, getter, target]: Wire): Promise<void> {
  const read = ledger.read as (n: ContractName, f: never, a: never[]) => Promise<unknown>;
  const found = (await read.call(
    ledger,
    name,
    getter as ReadName<typeof name> as never,
    [],
  )) as Address;
  if (found.toLowerCase() === ledger.address(target).toLowerCase()) return;
  throw notOurs(
    `${CONTRACT_FIELDS[name]}.${getter} is ${found}, not ${CONTRACT_FIELDS[target]}`,
    "the network file mixes two ledgers: take it anew from who made it",
  );
}

/** Only the governor proposes, anyone executes, nobody administers but the timelock itself. */
async function checkRoles(ledger: Ledger, deployer: Address | undefined): Promise<void> {
  const proposer = await ledger.read("timelock", "PROPOSER_ROLE", []);
  const executor = await ledger.read("timelock", "EXECUTOR_ROLE", []);
  const roles: [Hex, Address, boolean, string][] = [
    [proposer, ledger.address("governor"), true, "the governor cannot propose"],
    [executor, ANYONE, true, "what has passed cannot be executed by anyone"],
  ];
  if (deployer !== undefined) {
    roles.push([DEFAULT_ADMIN, deployer, false, "the deployer still administers the timelock"]);
    roles.push([proposer, deployer, false, "the deployer can propose without a vote"]);
  }
  for (const [role, account, expected, what] of roles)
    if ((await ledger.read("timelock", "hasRole", [role, account])) !== expected)
      throw notOurs(what, "this deployment must not be used");
}

/** Throws LEDGER_DIFFERS, WRONG_CHAIN, NOT_DEPLOYED, RPC_DOWN. */
export async function verifyDeployment(ledger: Ledger, deployer?: Address): Promise<void> {
  await ledger.check();
  for (const name of Object.keys(CONTRACT_FIELDS) as ContractName[]) await checkCode(ledger, name);
  for (const wire of WIRES) await checkWire(ledger, wire);
  await checkRoles(ledger, deployer);
  const genesis = Number(await ledger.read("params", "genesis", []));
  const epoch_seconds = await ledger.read("params", "epochSeconds", []);
  const { deployment } = ledger;
  if (genesis !== deployment.genesis || epoch_seconds !== deployment.epoch_seconds)
    throw notOurs(
      `the ledger's clock is ${genesis} + ${epoch_seconds} s, the network file says otherwise`,
      "take the network file anew from who made it",
    );
}
