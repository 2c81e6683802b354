/**
 * The point evaluation precompile of EIP-4844: whether a committed polynomial has the value y at z.
 * This chain takes no blobs, but a contract may check a proof of another chain's; and a call of the
 * precompile must not be able to stop a block.
 */

import type { KZG } from "@ethereumjs/util";
import { bls12_381 } from "@noble/curves/bls12-381.js";
import { fromHex } from "./hex.ts";

/** [tau] in G2, of the public ceremony of 2023 that EIP-4844 names (g2_monomial[1] of its setup). */
const TAU_G2 =
  "b5bfd7dd8cdeb128843bc287230af38926187075cbfbefa81009a2ce615ac53d2914e5870cb452d2afaaab24f3499f72185cbfee53492714734429b7b38608e23926c911cceceac9a36851477ba4c60b087041de621000edc98edada20c1def2";

const { G1, G2 } = { G1: bls12_381.G1.Point, G2: bls12_381.G2.Point };
const { Fr, Fp12 } = bls12_381.fields;

/** The EVM library takes this word for "the input is no point or no field element". */
const badInput = () => new Error("C_KZG_BADARGS");

function scalar(text: string): bigint {
  const value = BigInt(text);
  if (value >= Fr.ORDER) throw badInput();
  return value;
}

function point(text: string) {
  try {
    const found = G1.fromBytes(fromHex(text));
    found.assertValidity();
    return found;
  } catch {
    const zero = /^0xc0+$/.test(text); // infinity is a point of the group here
    if (zero) return G1.ZERO;
    throw badInput();
  }
}

/** e(C - [y], -[1]) e(proof, [tau - z]) = 1. Throws where an input is no point or no field element. */
export function verifyPoint(commitment: string, z: string, y: string, proof: string): boolean {
  const at = scalar(z);
  const value = scalar(y);
  const committed = point(commitment);
  const quotient = point(proof);
  const tau = G2.fromHex(TAU_G2);
  const left = value === 0n ? committed : committed.subtract(G1.BASE.multiply(value));
  const right = at === 0n ? tau : tau.subtract(G2.BASE.multiply(at));
  const pairs = [
    { g1: left, g2: G2.BASE.negate() },
    { g1: quotient, g2: right },
  ].filter(({ g1, g2 }) => !g1.is0() && !g2.is0());
  if (pairs.length === 0) return true;
  return Fp12.eql(bls12_381.pairingBatch(pairs), Fp12.ONE);
}

const noBlobs = (): never => {
  throw new Error("blobs are not kept on this chain");
};

/** What the EVM library asks for; only the verification is ever called. */
export const pointEvaluation: KZG = {
  verifyProof: verifyPoint,
  blobToKzgCommitment: noBlobs,
  computeBlobProof: noBlobs,
  verifyBlobProofBatch: noBlobs,
  computeCells: noBlobs,
  computeCellsAndProofs: noBlobs,
  recoverCellsAndProofs: noBlobs,
  verifyCellKzgProofBatch: noBlobs,
};
