/** Compiles a small contract for a test, with the project's compiler and settings. */
import solc from "solc";
import type { Abi } from "viem";

interface Output {
  errors?: { severity: string; formattedMessage: string }[];
  contracts: Record<string, Record<string, { abi: Abi; evm: { bytecode: { object: string } } }>>;
}

export function compiled(source: string, name: string): { abi: Abi; bytecode: `0x${string}` } {
  const input = {
    language: "Solidity",
    sources: { "test.sol": { content: source } },
    settings: {
      evmVersion: "cancun",
      optimizer: { enabled: true, runs: 200 },
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input))) as Output;
  const failed = output.errors?.find(({ severity }) => severity === "error");
  if (failed) throw new Error(failed.formattedMessage);
  const { abi, evm } = output.contracts["test.sol"]![name]!;
  return { abi, bytecode: `0x${evm.bytecode.object}` };
}
