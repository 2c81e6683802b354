/**
 * Compiles the ledger's contracts with solc-js into build/contracts.ts: for each contract its ABI
 * (`as const`, so that viem types every call from it), the code that deploys it, and the code that
 * then lies on the chain with the places of its immutables, by which a deployment is verified.
 * Called by build.ts; compiles only when a source, the compiler or a setting has changed.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dir, "..");
const folder = import.meta.dir;
const outfile = path.join(root, "build/contracts.ts");
const stampFile = path.join(root, "build/contracts.json");

/** Names in build/contracts.ts, the file of each contract, and its name within it. */
const CONTRACTS = {
  magToken: ["src/MagToken.sol", "MagToken"],
  voteMag: ["src/VoteMag.sol", "VoteMag"],
  governor: ["src/MagGovernor.sol", "MagGovernor"],
  timelock: ["@openzeppelin/contracts/governance/TimelockController.sol", "TimelockController"],
  params: ["src/Params.sol", "Params"],
  nodes: ["src/Nodes.sol", "Nodes"],
  epochs: ["src/Epochs.sol", "Epochs"],
  disputes: ["src/Disputes.sol", "Disputes"],
  dataRegistry: ["src/DataRegistry.sol", "DataRegistry"],
  revenue: ["src/Revenue.sol", "Revenue"],
} as const satisfies Record<string, readonly [file: string, name: string]>;

/** What a contract without code yet is typed by. */
const FACES: Record<string, readonly (readonly [file: string, name: string])[]> = {
  magToken: [
    ["src/interfaces/IMagToken.sol", "IMagToken"],
    ["@openzeppelin/contracts/interfaces/draft-IERC6093.sol", "IERC20Errors"],
    ["@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol", "IERC20Metadata"],
    ["@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol", "IERC20Permit"],
  ],
  voteMag: [
    ["@openzeppelin/contracts/token/ERC20/extensions/ERC20Wrapper.sol", "ERC20Wrapper"],
    ["@openzeppelin/contracts/governance/utils/IVotes.sol", "IVotes"],
  ],
  governor: [["@openzeppelin/contracts/governance/IGovernor.sol", "IGovernor"]],
  params: [["src/interfaces/IParams.sol", "IParams"]],
  nodes: [["src/interfaces/INodes.sol", "INodes"]],
  epochs: [["src/interfaces/IEpochs.sol", "IEpochs"]],
  disputes: [["src/interfaces/IDisputes.sol", "IDisputes"]],
  dataRegistry: [["src/interfaces/IDataRegistry.sol", "IDataRegistry"]],
  revenue: [["src/interfaces/IRevenue.sol", "IRevenue"]],
};

/** The rules of the chain that the contracts are made for: the same ones as in foundry.toml. */
const SETTINGS = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  // The same bytes from every machine: no hash of the sources' metadata in the code.
  metadata: { bytecodeHash: "none" },
  outputSelection: {
    "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode"] },
  },
} as const;

/** EIP-170: no chain deploys a contract with more code. */
const CODE_BYTES_MAX = 24_576;

interface Compiled {
  abi: unknown[];
  evm: {
    bytecode: { object: string };
    deployedBytecode: {
      object: string;
      immutableReferences?: Record<string, { start: number; length: number }[]>;
    };
  };
}
interface SolcOutput {
  errors?: {
    severity: "error" | "warning" | "info";
    formattedMessage: string;
    sourceLocation?: { file: string };
  }[];
  contracts?: Record<string, Record<string, Compiled>>;
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const pathOf = (unit: string) =>
  unit.startsWith("@") ? path.join(root, "node_modules", unit) : path.join(folder, unit);
const hasCode = (name: keyof typeof CONTRACTS) => fs.existsSync(pathOf(CONTRACTS[name][0]));
const names = Object.keys(CONTRACTS) as (keyof typeof CONTRACTS)[];
const partsOf = (name: keyof typeof CONTRACTS) =>
  hasCode(name) ? [CONTRACTS[name]] : FACES[name]!;

/** Every source that the contracts reach by imports, by the compiler's name of it. */
function gatherSources(): Record<string, string> {
  const found: Record<string, string> = {};
  const open = [...new Set(names.flatMap((name) => partsOf(name).map(([file]) => file as string)))];
  for (let unit = open.pop(); unit !== undefined; unit = open.pop()) {
    if (found[unit] !== undefined) continue;
    const code = fs.readFileSync(pathOf(unit), "utf8");
    found[unit] = code;
    for (const [, imported] of code.matchAll(/^\s*import\s(?:[^;]*?\sfrom\s)?\s*"([^"]+)"/gm))
      open.push(imported!.startsWith(".") ? path.join(path.dirname(unit), imported!) : imported!);
  }
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** One contract as a line of build/contracts.ts. */
function render(name: keyof typeof CONTRACTS, contracts: Record<string, Record<string, Compiled>>) {
  const parts = partsOf(name).map(([file, contract]) => contracts[file]![contract]!);
  const seen = new Set<string>();
  const abi = parts
    .flatMap((part) => part.abi)
    .filter((entry) => {
      const key = JSON.stringify(entry);
      return !seen.has(key) && seen.add(key);
    });
  const { bytecode, deployedBytecode } = parts[0]!.evm;
  const code = hasCode(name) ? bytecode.object : "";
  const deployed = hasCode(name) ? deployedBytecode.object : "";
  if (!/^[0-9a-f]*$/.test(code) || (hasCode(name) && code === ""))
    throw new Error(`contracts: ${name} has no code of its own (abstract, or wants a library)`);
  if (deployed.length / 2 > CODE_BYTES_MAX)
    throw new Error(`contracts: ${name} has ${deployed.length / 2} bytes of code (EIP-170: 24576)`);
  const immutables = Object.values(deployedBytecode.immutableReferences ?? {})
    .flat()
    .map(({ start, length }) => [start, length])
    .sort((a, b) => a[0]! - b[0]!);
  return [
    `export const ${name} = {`,
    `  abi: ${JSON.stringify(abi)},`,
    `  bytecode: "0x${code}" as \`0x\${string}\`,`,
    `  deployed: "0x${deployed}" as \`0x\${string}\`,`,
    `  immutables: ${JSON.stringify(immutables)} as readonly (readonly [number, number])[],`,
    "} as const;",
  ].join("\n");
}

/** Writes build/contracts.ts unless it is there and made from exactly these sources. */
export async function buildContracts(say: (text: string) => void): Promise<void> {
  const sources = gatherSources();
  const { version } = JSON.parse(
    fs.readFileSync(path.join(root, "node_modules/solc/package.json"), "utf8"),
  ) as { version: string };
  const own = fs.readFileSync(import.meta.path, "utf8");
  const stamp = sha256(JSON.stringify([version, own, sources]));
  const current = fs.existsSync(stampFile) ? fs.readFileSync(stampFile, "utf8") : "";
  if (current === stamp && fs.existsSync(outfile)) return;
  const started = performance.now();
  // The compiler is 9 MB of JavaScript: loaded only when there is something to compile.
  const { default: solc } = (await import("solc")) as unknown as {
    default: { compile(input: string): string };
  };
  const contents = Object.fromEntries(
    Object.entries(sources).map(([unit, content]) => [unit, { content }]),
  );
  const output = JSON.parse(
    solc.compile(JSON.stringify({ language: "Solidity", sources: contents, settings: SETTINGS })),
  ) as SolcOutput;
  const problems = (output.errors ?? []).filter(({ severity }) => severity !== "info");
  const errors = problems.filter(({ severity }) => severity === "error");
  if (errors.length > 0 || output.contracts === undefined)
    throw new Error(`contracts:\n${errors.map((e) => e.formattedMessage).join("\n")}`);
  // Warnings about OpenZeppelin's own files are not ours to act on.
  for (const { formattedMessage, sourceLocation } of problems)
    if (sourceLocation?.file.startsWith("src/")) say(formattedMessage.trim());
  const text = [
    "/** Made by contracts/build.ts from contracts/src; not kept in the repository. */",
    ...names.map((name) => render(name, output.contracts!)),
  ].join("\n");
  fs.mkdirSync(path.dirname(outfile), { recursive: true });
  fs.writeFileSync(`${outfile}.tmp`, `${text}\n`);
  fs.renameSync(`${outfile}.tmp`, outfile);
  fs.writeFileSync(stampFile, stamp);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const bare = names.filter((name) => !hasCode(name));
  const note = bare.length === 0 ? "" : `; by their interface only: ${bare.join(", ")}`;
  say(`contracts, ${Object.keys(sources).length} Solidity files in ${seconds} s${note}`);
}
