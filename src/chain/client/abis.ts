/** The compiled contracts by name, and the types of everything that can be called on them. */
import type {
  Abi,
  ContractFunctionArgs,
  ContractFunctionName,
  ContractFunctionReturnType,
} from "viem";
import {
  dataRegistry,
  disputes,
  epochs,
  governor,
  magToken,
  nodes,
  params,
  revenue,
  timelock,
  voteMag,
} from "../../../build/contracts.ts";
import type { ContractName } from "./deployment.ts";

export const CONTRACTS = {
  magToken,
  voteMag,
  governor,
  timelock,
  params,
  nodes,
  epochs,
  disputes,
  dataRegistry,
  revenue,
} as const satisfies Record<ContractName, unknown>;

/** What build/contracts.ts says of one contract. */
export interface CompiledContract {
  readonly abi: Abi;
  readonly bytecode: `0x${string}`;
  readonly deployed: `0x${string}`;
  readonly immutables: readonly (readonly [start: number, length: number])[];
}

export type AbiOf<N extends ContractName> = (typeof CONTRACTS)[N]["abi"];
type Reading = "pure" | "view";
type Writing = "nonpayable" | "payable";
export type ReadName<N extends ContractName> = ContractFunctionName<AbiOf<N>, Reading>;
export type ReadArgs<N extends ContractName, F extends ReadName<N>> = ContractFunctionArgs<
  AbiOf<N>,
  Reading,
  F
>;
export type ReadResult<N extends ContractName, F extends ReadName<N>> = ContractFunctionReturnType<
  AbiOf<N>,
  Reading,
  F
>;
export type WriteName<N extends ContractName> = ContractFunctionName<AbiOf<N>, Writing>;
export type WriteArgs<N extends ContractName, F extends WriteName<N>> = ContractFunctionArgs<
  AbiOf<N>,
  Writing,
  F
>;
