/** Time as an argument: nothing that decides reads the host's clock itself. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now_ms(): number;
}

/** The host's clock; handed in at the outermost layer only. */
export const systemClock: Clock = { now_ms: () => Date.now() };
