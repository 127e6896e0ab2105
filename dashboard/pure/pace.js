// When to ask again: at the pace chosen, slower while it fails, not at all while nobody looks.

export const LONGEST_MS = 60_000;
const FIRST_WAIT_MS = 5_000; // after a failure, even when refresh is off or fast

/** Milliseconds until the next question; null for none. failures: in a row. retryAfter_s: what the server asked for. */
export const waitOf = (refresh_s, failures, retryAfter_s = 0) => {
  if (!failures) return refresh_s ? refresh_s * 1000 : null;
  const doubled = Math.max(refresh_s * 1000, FIRST_WAIT_MS) * 2 ** Math.min(failures - 1, 6);
  return Math.min(Math.max(doubled, retryAfter_s * 1000), LONGEST_MS);
};

/** Samples of {at_ms, value} → change per second between the first and the last of the last `span_ms`; null for too few. */
export const rateOf = (samples, span_ms = 15_000) => {
  const last = samples.at(-1);
  const first = samples.find((s) => last && s.at_ms >= last.at_ms - span_ms);
  if (!first || first === last || last.at_ms === first.at_ms || last.value < first.value) return null;
  return ((last.value - first.value) * 1000) / (last.at_ms - first.at_ms);
};
