/**
 * Hashes that the contracts compute as well: commitments, votes, and the EIP-712 digests that nodes
 * sign. Every one binds chain and contract, so nothing signed for one ledger counts in another.
 */
import type { Hash } from "../../core/types.ts";
import type { Address, Hex, LedgerPlace } from "./ledger-types.ts";
import { encodeWords, hashWord, hex, keccak, keccakText } from "./words.ts";

const DOMAIN_TYPE =
  "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const SETTLEMENT_TYPE =
  "Settlement(uint64 epoch,bytes32 parent,bytes32 root,uint256 total,uint256 count,bytes32 dataHash)";
const COMMIT_TYPE = "Commit(uint64 epoch,bytes32 commitment)";
const REVEAL_TYPE = "Reveal(uint64 epoch,bytes32 resultHash,uint256 score,bytes32 nonce)";
const VERSION = "1";

/** What a commitment hides until it is opened. */
export interface Opening {
  result_hash: Hash;
  score: bigint;
  /** 32 random bytes. */
  nonce: Hex;
}

/** `parent` of the first settlement. */
export const NO_ROOT: Hex = `0x${"0".repeat(64)}`;

/** What notaries sign about an epoch. */
export interface Outcome {
  epoch: number;
  /** Root of the settlement that this one builds on; zero for the first. */
  parent: Hex;
  root: Hex;
  total: bigint;
  count: number;
  data_hash: Hash;
}

/** keccak256(abi.encode(chainid, Epochs, epoch, sender, resultHash, score, nonce)). */
export const commitmentOf = (
  place: LedgerPlace,
  epoch: number,
  sender: Address,
  opening: Opening,
): Hex =>
  hex(
    keccak(
      encodeWords(
        place.chain_id,
        place.epochs,
        epoch,
        sender,
        hashWord(opening.result_hash),
        opening.score,
        opening.nonce,
      ),
    ),
  );

/** keccak256(abi.encode(chainid, Disputes, id, notary, guilty, salt)). */
export const voteOf = (
  place: LedgerPlace,
  vote: { id: number; notary: Address; guilty: boolean; salt: Hex },
): Hex => {
  const { id, notary, guilty, salt } = vote;
  return hex(keccak(encodeWords(place.chain_id, place.disputes, id, notary, guilty, salt)));
};

const domainSeparator = (name: string, chain_id: number, contract: Address): Uint8Array =>
  keccak(
    encodeWords(
      hex(keccakText(DOMAIN_TYPE)),
      hex(keccakText(name)),
      hex(keccakText(VERSION)),
      chain_id,
      contract,
    ),
  );

/** keccak256(0x1901 | domain separator | hash of the struct). */
const typedDigest = (domain: Uint8Array, struct: Uint8Array): Uint8Array =>
  keccak(new Uint8Array(Buffer.concat([Buffer.from([0x19, 0x01]), domain, keccak(struct)])));

const epochsDomain = ({ chain_id, epochs }: LedgerPlace) =>
  domainSeparator("Magnet Epochs", chain_id, epochs);
const disputesDomain = ({ chain_id, disputes }: LedgerPlace) =>
  domainSeparator("Magnet Disputes", chain_id, disputes);

/** What a notary signs: `Epochs.settlementDigest`. */
export function settlementDigest(place: LedgerPlace, outcome: Outcome): Uint8Array {
  const { epoch, parent, root, total, count, data_hash } = outcome;
  const type = hex(keccakText(SETTLEMENT_TYPE));
  const struct = encodeWords(type, epoch, parent, root, total, count, hashWord(data_hash));
  return typedDigest(epochsDomain(place), struct);
}

/** What a node signs when it gossips a commitment. */
export const commitDigest = (place: LedgerPlace, epoch: number, commitment: Hex): Uint8Array =>
  typedDigest(disputesDomain(place), encodeWords(hex(keccakText(COMMIT_TYPE)), epoch, commitment));

/** What a node signs when it gossips the opening of its commitment. */
export function revealDigest(place: LedgerPlace, epoch: number, opening: Opening): Uint8Array {
  const { result_hash, score, nonce } = opening;
  const type = hex(keccakText(REVEAL_TYPE));
  const struct = encodeWords(type, epoch, hashWord(result_hash), score, nonce);
  return typedDigest(disputesDomain(place), struct);
}
