/**
 * One weakness or more for each attack of the ledger: a small change of a contract that opens the door,
 * and the test that must notice.
 */
export interface Mutant {
  attack: string;
  /** Name of the test function in contracts/test/attacks. */
  test: string;
  /** Below contracts/src. */
  file: string;
  /** What is found (exactly once in the file), and what is put in its place. */
  edits: readonly (readonly [find: string, replace: string])[];
}

export const MUTANTS: readonly Mutant[] = [
  {
    attack: "commit copying: the author is not bound",
    test: "testAttackCommitCopying",
    file: "Commits.sol",
    edits: [
      [
        "abi.encode(block.chainid, address(this), epoch, sender, resultHash, score, nonce)",
        "abi.encode(block.chainid, address(this), epoch, resultHash, score, nonce)",
      ],
    ],
  },
  {
    attack: "reveal withholding: punished as often as one likes",
    test: "testAttackRevealWithholding",
    file: "Commits.sol",
    edits: [["_states[epoch][node] = CommitState.Punished;", ""]],
  },
  {
    attack: "reveal withholding: commitments are hoarded without limit",
    test: "testAttackHoardingOpenCommits",
    file: "Commits.sol",
    edits: [["open >= MAX_OPEN_COMMITS", "open > MAX_OPEN_COMMITS"]],
  },
  {
    attack: "replay: a commitment opens in another epoch",
    test: "testAttackReplayedCommitment",
    file: "Commits.sol",
    edits: [
      [
        "abi.encode(block.chainid, address(this), epoch, sender, resultHash, score, nonce)",
        "abi.encode(block.chainid, address(this), sender, resultHash, score, nonce)",
      ],
    ],
  },
  {
    attack: "replay: a commitment opens on another chain",
    test: "testAttackReplayedCommitment",
    file: "Commits.sol",
    edits: [
      [
        "abi.encode(block.chainid, address(this), epoch, sender, resultHash, score, nonce)",
        "abi.encode(address(this), epoch, sender, resultHash, score, nonce)",
      ],
    ],
  },
  {
    attack: "replay: a commitment opens in another ledger",
    test: "testAttackReplayedCommitment",
    file: "Commits.sol",
    edits: [
      [
        "abi.encode(block.chainid, address(this), epoch, sender, resultHash, score, nonce)",
        "abi.encode(block.chainid, epoch, sender, resultHash, score, nonce)",
      ],
    ],
  },
  {
    attack: "replay: a settlement's signatures carry another epoch",
    test: "testAttackReplayedSettlement",
    file: "Epochs.sol",
    edits: [
      [
        "return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, proposal)));",
        `Proposal memory p = Proposal(0, 0, proposal.root, proposal.total, proposal.count, proposal.dataHash);
        return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, p)));`,
      ],
    ],
  },
  {
    attack: "signature malleability: both forms of a payment's signature count",
    test: "testAttackMalleablePayment",
    file: "MagToken.sol",
    edits: [
      [
        "(address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, v, r, s);",
        `address recovered = ecrecover(digest, v, r, s);
        ECDSA.RecoverError problem = ECDSA.RecoverError.NoError;`,
      ],
    ],
  },
  {
    attack: "signature malleability: one notary signs twice",
    test: "testAttackMalleableSettlement",
    file: "Epochs.sol",
    edits: [
      [
        "if (signer <= last) revert SignersNotSorted();",
        "if (signer < last) revert SignersNotSorted();",
      ],
    ],
  },
  {
    attack: "second preimage: leaves are hashed once",
    test: "testAttackSecondPreimage",
    file: "Epochs.sol",
    edits: [
      [
        "keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))))",
        "keccak256(abi.encode(account, cumulative))",
      ],
    ],
  },
  {
    attack: "reentrancy: a claim is written down after its payment",
    test: "testAttackReentrantClaim",
    file: "Epochs.sol",
    edits: [
      [
        `uint256 cumulative, bytes32[] calldata proof)
        external
        nonReentrant`,
        "uint256 cumulative, bytes32[] calldata proof) external",
      ],
      ["        claimed[account] = cumulative;\n", ""],
      [
        "safeTransfer(account, cumulative - before);",
        "safeTransfer(account, cumulative - before);\n        claimed[account] = cumulative;",
      ],
    ],
  },
];
