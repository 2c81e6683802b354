/**
 * The ledger's attacks, and for each at least one mutant: a small change of a contract that opens the
 * door, and the test that must notice. Run by contracts/mutate.ts.
 */
export const ATTACKS = [
  "commit copying",
  "reveal withholding",
  "replay",
  "signature malleability",
  "second preimage",
  "reentrancy",
  "rounding and dust",
  "bad root against unclaimed sums",
  "Sybil splitting",
  "notary collusion and self-challenge",
  "slash evasion by unbonding",
  "epoch-boundary griefing",
  "challenge spam",
  "unbounded loops",
  "parameter front-running",
  "proposer absence",
  "lying about the tier",
  "concurrent replay of payments",
] as const;

export interface Mutant {
  attack: (typeof ATTACKS)[number];
  /** What the change lets happen. */
  weakness: string;
  /** Name of the test function in contracts/test/attacks. */
  test: string;
  /** Below contracts/src. */
  file: string;
  /** What is found (exactly once in the file), and what is put in its place. */
  edits: readonly (readonly [find: string, replace: string])[];
}

export const MUTANTS: readonly Mutant[] = [
  {
    attack: "commit copying",
    weakness: "the author is not bound",
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
    attack: "reveal withholding",
    weakness: "punished as often as one likes",
    test: "testAttackRevealWithholding",
    file: "Commits.sol",
    edits: [["_states[epoch][node] = CommitState.Punished;", ""]],
  },
  {
    attack: "reveal withholding",
    weakness: "a reveal counts after its window",
    test: "testAttackRevealWithholding",
    file: "Commits.sol",
    edits: [["_within(epoch, opens, opens + plan.revealSeconds);", ""]],
  },
  {
    attack: "reveal withholding",
    weakness: "commitments are hoarded without limit",
    test: "testAttackHoardingOpenCommits",
    file: "Commits.sol",
    edits: [["open >= MAX_OPEN_COMMITS", "open > MAX_OPEN_COMMITS"]],
  },
  {
    attack: "replay",
    weakness: "a commitment opens in another epoch",
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
    attack: "replay",
    weakness: "a commitment opens on another chain",
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
    attack: "replay",
    weakness: "a commitment opens in another ledger",
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
    attack: "replay",
    weakness: "a settlement's signatures carry another epoch",
    test: "testAttackReplayedSettlement",
    file: "Settlements.sol",
    edits: [
      [
        "        return _hashTypedDataV4(keccak256(abi.encode(SETTLEMENT_TYPEHASH, proposal)));",
        "        bytes32 typehash = SETTLEMENT_TYPEHASH;\n        return _hashTypedDataV4(\n            keccak256(abi.encode(typehash, proposal.root, proposal.total, proposal.dataHash))\n        );",
      ],
    ],
  },
  {
    attack: "signature malleability",
    weakness: "both forms of a payment's signature count",
    test: "testAttackMalleablePayment",
    file: "MagToken.sol",
    edits: [
      [
        "(address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, v, r, s);",
        "(address recovered, ECDSA.RecoverError problem) =\n            (ecrecover(digest, v, r, s), ECDSA.RecoverError.NoError);",
      ],
    ],
  },
  {
    attack: "signature malleability",
    weakness: "one notary signs twice",
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
    attack: "signature malleability",
    weakness: "both forms of a settlement's signature count",
    test: "testAttackMalleableSettlement",
    file: "Lean.sol",
    edits: [["if (uint256(s) > HALF_ORDER) return address(0);", ""]],
  },
  {
    attack: "second preimage",
    weakness: "leaves are hashed once",
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
    attack: "reentrancy",
    weakness: "a claim is written down after its payment",
    test: "testAttackReentrantClaim",
    file: "Epochs.sol",
    edits: [
      ["        claimed[account] = cumulative;\n", ""],
      [
        "safeTransfer(account, cumulative - before);",
        "safeTransfer(account, cumulative - before);\n        claimed[account] = cumulative;",
      ],
    ],
  },
  {
    attack: "reentrancy",
    weakness: "a withdrawal is written down after its payment",
    test: "testAttackReentrantWithdrawal",
    file: "Nodes.sol",
    edits: [
      ["function withdraw() external nonReentrant {", "function withdraw() external {"],
      ["        account.unbonding = 0;\n", ""],
      [
        "safeTransfer(msg.sender, amount);\n",
        "safeTransfer(msg.sender, amount);\n        account.unbonding = 0;\n",
      ],
      ["        account.releaseTime = 0;\n", ""],
    ],
  },
  {
    attack: "reentrancy",
    weakness: "a job is marked paid after its payment",
    test: "testAttackReentrantJob",
    file: "Revenue.sol",
    edits: [
      [
        "function settleJob(uint256 id) external nonReentrant {",
        "function settleJob(uint256 id) external {",
      ],
      ["        job.state = JobState.Paid;\n", ""],
      [
        "        _pay(job.worker, provider, treasury, burned);\n",
        "        _pay(job.worker, provider, treasury, burned);\n        job.state = JobState.Paid;\n",
      ],
    ],
  },
  {
    attack: "rounding and dust",
    weakness: "a claim forgets the odd units",
    test: "testAttackFuzzRoundingAndDust",
    file: "Epochs.sol",
    edits: [
      [
        "safeTransfer(account, cumulative - before);",
        "safeTransfer(account, ((cumulative - before) / 10) * 10);",
      ],
    ],
  },
  {
    attack: "rounding and dust",
    weakness: "the burned part is rounded down by itself",
    test: "testAttackFuzzDustOfJobs",
    file: "Splitter.sol",
    edits: [["burned = amount - provider - treasury;", "burned = (amount * split.burned) / BPS;"]],
  },
  {
    attack: "rounding and dust",
    weakness: "the odd unit of a slash is lost",
    test: "testAttackFuzzDustOfSlashes",
    file: "Nodes.sol",
    edits: [["token.burn(amount - reward);", "token.burn(amount / 2);"]],
  },
  {
    attack: "bad root against unclaimed sums",
    weakness: "a convicted root stays",
    test: "testAttackBadRootOnUnclaimedSums",
    file: "Disputes.sol",
    edits: [["epochs.release(c.subject, reject,", "epochs.release(c.subject, false,"]],
  },
  {
    attack: "bad root against unclaimed sums",
    weakness: "a disputed root becomes final",
    test: "testAttackBadRootOnUnclaimedSums",
    file: "Epochs.sol",
    edits: [["        _head.finalAt = NEVER;\n", ""]],
  },
  {
    attack: "bad root against unclaimed sums",
    weakness: "a root judged bad comes back",
    test: "testAttackBadRootComesBack",
    file: "Epochs.sol",
    edits: [["_barred[keccak256(abi.encode(epoch, root))] = true;", ""]],
  },
  {
    attack: "bad root against unclaimed sums",
    weakness: "what was minted for it is not burned",
    test: "testAttackBadRootOnUnclaimedSums",
    file: "Epochs.sol",
    edits: [["if (total != 0) token.burn(total);", ""]],
  },
  {
    attack: "Sybil splitting",
    weakness: "seats are drawn by head, not by bond",
    test: "testAttackSybilSeats",
    file: "Seats.sol",
    edits: [
      [
        "if (total == 0) return address(0);",
        "if (total != 0) return _seats[uint256(seed) % _seatCount()].node;",
      ],
    ],
  },
  {
    attack: "Sybil splitting",
    weakness: "anybody registers anybody's key",
    test: "testAttackSybilIdentities",
    file: "Nodes.sol",
    edits: [["if (owner != msg.sender) revert KeyNotOfCaller(owner, msg.sender);", ""]],
  },
  {
    attack: "notary collusion and self-challenge",
    weakness: "the accused judges itself",
    test: "testAttackOwnCase",
    file: "Disputes.sol",
    edits: [
      [
        "bool own = seats[i] == c.accused || seats[i] == c.challenger;",
        "bool own = seats[i] == c.challenger;",
      ],
    ],
  },
  {
    attack: "notary collusion and self-challenge",
    weakness: "the challenger judges its own charge",
    test: "testAttackOwnCase",
    file: "Disputes.sol",
    edits: [
      [
        "bool own = seats[i] == c.accused || seats[i] == c.challenger;",
        "bool own = seats[i] == c.accused;",
      ],
    ],
  },
  {
    attack: "notary collusion and self-challenge",
    weakness: "two of four convict",
    test: "testAttackColludingNotary",
    file: "Panels.sol",
    edits: [["(2 * size) / 3 + 1;", "(2 * size) / 3;"]],
  },
  {
    attack: "notary collusion and self-challenge",
    weakness: "the whole slash goes to the challenger",
    test: "testAttackSelfChallenge",
    file: "Nodes.sol",
    edits: [
      ["challenger == address(0) ? 0 : amount / 2;", "challenger == address(0) ? 0 : amount;"],
    ],
  },
  {
    attack: "notary collusion and self-challenge",
    weakness: "a vote can be copied",
    test: "testAttackCopiedVote",
    file: "Panels.sol",
    edits: [
      [
        "abi.encode(block.chainid, address(this), id, msg.sender, guilty, salt)",
        "abi.encode(block.chainid, address(this), id, _panels[id][0].notary, guilty, salt)",
      ],
    ],
  },
  {
    attack: "slash evasion by unbonding",
    weakness: "what unbonds is not slashed",
    test: "testAttackSlashEvasion",
    file: "Nodes.sol",
    edits: [["cut = (account.unbonding * uint256(bps)) / BPS;", "cut = 0;"]],
  },
  {
    attack: "slash evasion by unbonding",
    weakness: "a withdrawal does not wait for the verdict",
    test: "testAttackSlashEvasion",
    file: "Nodes.sol",
    edits: [
      [
        "        if (account.locks != 0) revert UnderDispute(msg.sender);\n        if (block.timestamp < account.releaseTime)",
        "        if (block.timestamp < account.releaseTime)",
      ],
    ],
  },
  {
    attack: "slash evasion by unbonding",
    weakness: "a withdrawal does not wait at all",
    test: "testAttackUnbondBeforeJudgement",
    file: "Nodes.sol",
    edits: [
      [
        "if (block.timestamp < account.releaseTime) revert StillUnbonding(account.releaseTime);",
        "",
      ],
    ],
  },
  {
    attack: "slash evasion by unbonding",
    weakness: "the banned come back",
    test: "testAttackReturnOfTheBanned",
    file: "Nodes.sol",
    edits: [["if (account.banned) revert Banned(node);", ""]],
  },
  {
    attack: "epoch-boundary griefing",
    weakness: "a window is a second too long",
    test: "testAttackEpochBoundary",
    file: "Commits.sol",
    edits: [["block.timestamp >= closes", "block.timestamp > closes"]],
  },
  {
    attack: "epoch-boundary griefing",
    weakness: "a window opens a second late",
    test: "testAttackEpochBoundary",
    file: "Commits.sol",
    edits: [["block.timestamp < opens", "block.timestamp <= opens"]],
  },
  {
    attack: "epoch-boundary griefing",
    weakness: "a proposer may leave nodes out at the last second",
    test: "testAttackLeftOutOfCommitRoot",
    file: "Epochs.sol",
    edits: [["(commitSeconds + 1) / 2", "commitSeconds"]],
  },
  {
    attack: "challenge spam",
    weakness: "a dismissed charge costs nothing",
    test: "testAttackChallengeSpam",
    file: "Disputes.sol",
    edits: [["if (outcome == Phase.Dismissed) token.burn(c.bond);\n        else ", ""]],
  },
  {
    attack: "challenge spam",
    weakness: "one charge many times over",
    test: "testAttackChallengeSpam",
    file: "Disputes.sol",
    edits: [["if (charge.open) {", "if (false) {"]],
  },
  {
    attack: "unbounded loops",
    weakness: "a thirty-second seat",
    test: "testAttackUnboundedLoops",
    file: "Seats.sol",
    edits: [["MAX_SEATS = 31;", "MAX_SEATS = 32;"]],
  },
  {
    attack: "unbounded loops",
    weakness: "a tree without limit",
    test: "testAttackUnboundedTree",
    file: "Epochs.sol",
    edits: [["if (proposal.count > MAX_COUNT) revert TreeTooLarge(proposal.count);", ""]],
  },
  {
    attack: "parameter front-running",
    weakness: "values act within the running epoch",
    test: "testAttackParameterFrontRunning",
    file: "Params.sol",
    edits: [["uint64 from = currentEpoch() + 1;", "uint64 from = currentEpoch();"]],
  },
  {
    attack: "parameter front-running",
    weakness: "anybody schedules values",
    test: "testAttackParameterFrontRunning",
    file: "Params.sol",
    edits: [["if (msg.sender != owner) revert NotOwner(msg.sender);", ""]],
  },
  {
    attack: "proposer absence",
    weakness: "nobody follows an absent proposer",
    test: "testAttackProposerAbsent",
    file: "Epochs.sol",
    edits: [
      ["bool exclusive = block.timestamp < until;", "bool exclusive = block.timestamp <= until;"],
    ],
  },
  {
    attack: "proposer absence",
    weakness: "a present proposer is pushed aside",
    test: "testAttackProposerAbsent",
    file: "Epochs.sol",
    edits: [["} else if (drawn != msg.sender) {", "} else if (false) {"]],
  },
  {
    attack: "lying about the tier",
    weakness: "a higher tier without its bond",
    test: "testAttackTierLie",
    file: "Nodes.sol",
    edits: [
      [
        "        _reach(account.bond, params.tierBond(tier));\n        uint64 from",
        "        uint64 from",
      ],
    ],
  },
  {
    attack: "lying about the tier",
    weakness: "a bond below the tier's takes part",
    test: "testAttackTierLie",
    file: "Nodes.sol",
    edits: [["return account.bond >= params.tierBond(_tierNow(account));", "return true;"]],
  },
  {
    attack: "concurrent replay of payments",
    weakness: "an authorization is not used up",
    test: "testAttackConcurrentPayments",
    file: "MagToken.sol",
    edits: [["authorizationState[from][nonce] = true;", ""]],
  },
];
