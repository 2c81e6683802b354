/** Bounds of the embedded chain: what a hostile or careless client can make it do at most. */

export const CHAIN_LIMITS = {
  /** Gas of one block unless the genesis says otherwise; what anvil and others use. */
  block_gas: 30_000_000n,
  /** Gas of one eth_call: as a block's, some seconds of one core at the very worst. */
  call_gas: 30_000_000n,
  /** Gas of all runs of one estimate: what was found by then is enough, if not the least. */
  estimate_gas: 150_000_000n,
  /** Calls and estimates that wait for their turn, and how long one may: a batch of reads fits. */
  calls_waiting: 5000,
  call_wait_ms: 60_000,
  /** A raw transaction; the same as other nodes. Larger ones are refused. */
  transaction_bytes: 128 << 10,
  /** Transactions that wait for a block, all senders together; further ones are refused. */
  waiting: 8192,
  /** Bytes of them. */
  waiting_bytes: 64 << 20,
  /** Of one sender, so that none takes all places. */
  waiting_per_sender: 2048,
  /** How far a nonce may lie beyond the account's: what is further off never comes up. */
  nonce_gap: 1024n,
  /** Blocks that one eth_getLogs may span; the index makes each cheap, the answer may not be. */
  log_blocks: 100_000n,
  /** Logs in one answer; the caller narrows the range where there are more. */
  logs: 10_000,
  /** Length of one answer of logs as text: their data may be megabytes each. */
  log_characters: 64 << 20,
  /** Addresses, or alternatives of one topic, in a filter. */
  filter_values: 256,
  /** Filters kept for eth_getFilterChanges; the one unused for longest goes first. */
  filters: 1024,
  /** Blocks of one eth_feeHistory, as the specification allows. */
  fee_history_blocks: 1024,
  /** Percentiles of one eth_feeHistory. */
  fee_history_percentiles: 100,
  /** Storage slots of one eth_getProof. */
  proof_slots: 256,
  /** Nodes of the state kept in memory (each some 100 to 550 bytes). */
  cached_nodes: 100_000,
  /** Accounts and slots kept in memory between blocks. */
  cached_values: 200_000,
} as const;

export const HTTP_LIMITS = {
  /** One request's body: a batch of many transactions fits. */
  body_bytes: 16 << 20,
  /** How long a body may take to arrive. */
  body_ms: 30_000,
  /** Calls in one batch. */
  batch: 5000,
  /** Bytes of a batch's answers together: what is beyond answers with an error. */
  answer_bytes: 64 << 20,
  /** Requests worked on at once; further ones are told to try again. */
  requests: 256,
  /** Seconds without bytes after which a connection is closed. */
  idle_s: 60,
} as const;
