// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Node tiers (paper 10.2), in the order of `TIERS` in src/core/tiers.ts.
enum Tier {
    ClaudeSession,
    GpuCompute,
    StorageNode,
    CpuOnly,
    MobileLight
}

/// What a bond can be slashed for (paper 13.3). The rates are `Values.slashBps`, in this order.
enum Offence {
    /// A commitment of an epoch was not opened in its reveal window.
    NoReveal,
    /// A commitment was opened with something else, or two were signed for one epoch.
    Mismatch,
    /// The tier that a node registered is not met by audits.
    FalseTier,
    /// A registered data set is inaccurate or malicious.
    BadData,
    /// A proposed reward root differs from the one computed from the epoch record.
    BadRoot,
    /// A notary signed a root that was judged bad.
    FraudulentApproval
}

/// What a payment is for; each has its own split.
enum Activity {
    DataFee,
    ResearchJob,
    ApiIncome
}

/// Shares of a payment in basis points; the three sum to 10,000.
struct Split {
    uint16 provider;
    uint16 treasury;
    uint16 burned;
}

/// Every governed constant of the ledger. One version is in force for a whole epoch. Amounts are in
/// base units of the token, durations in seconds.
struct Values {
    /// Minted for an epoch with at least one contribution (Eq. 5: R_pool).
    uint96 epochPool;
    /// Most that is minted in a day of 86,400 s and in a year of 365 days of chain time, both counted from
    /// 1970 (not any 86,400 s: two days meet at midnight).
    uint96 dailyCap;
    uint96 annualCap;
    /// Windows of epoch e, each beginning where the one before ends; the first begins at e's end.
    uint32 commitSeconds;
    uint32 revealSeconds;
    /// From the end of the reveal window only the drawn proposer may settle, then any bonded node.
    uint32 proposerSeconds;
    /// After its settlement a root can be challenged for so long; then it is final.
    uint32 challengeSeconds;
    /// An epoch not settled so long after its end is skipped and mints nothing.
    uint32 settleSeconds;
    /// Windows of a dispute's votes.
    uint32 voteCommitSeconds;
    uint32 voteRevealSeconds;
    /// From `unbond` to `withdraw`; at least commit + reveal + challenge + both vote windows + one
    /// epoch.
    uint32 unbondingSeconds;
    /// A data record can be challenged for so long.
    uint32 dataChallengeSeconds;
    /// T_i in thousandths, by Tier.
    uint16[5] tierRewards;
    /// Least bond of a node, by Tier.
    uint96[5] tierBonds;
    /// Least bond of a notary, besides its node's.
    uint96 notaryBond;
    /// What a challenger stakes on a dispute.
    uint96 challengerBond;
    /// Share of a bond that is slashed in basis points, by Offence.
    uint16[6] slashBps;
    /// Weights of the axes of C_i in basis points (sum 10,000): data quality, training compute, model
    /// quality, storage, serving.
    uint16[5] axisWeights;
    /// By Activity.
    Split[3] splits;
    /// Fee for registering a data set.
    uint96 dataFee;
    /// Notaries drawn for a dispute: 3f + 1, at most 31.
    uint8 panelSize;
    /// SHA-256 of the benchmark suite by which model quality is measured.
    bytes32 benchmarkHash;
}

/// The part of `Values` that settling and claiming read: two storage slots. `end` is the epoch's end.
struct EpochPlan {
    uint64 end;
    uint96 epochPool;
    uint96 dailyCap;
    uint96 annualCap;
    uint32 commitSeconds;
    uint32 revealSeconds;
    uint32 proposerSeconds;
    uint32 challengeSeconds;
    uint32 settleSeconds;
}

/// The part of `Values` that a dispute reads: two storage slots.
struct DisputePlan {
    uint32 voteCommitSeconds;
    uint32 voteRevealSeconds;
    uint96 challengerBond;
    uint8 panelSize;
}
