// What an answer covers, and whether it may be trusted, in words.
import { countText, numberText } from "./text.js";

/** complete, incomplete, or waiting for a first answer. */
export const verdictOf = (meta) => (!meta ? "waiting" : meta.complete ? "complete" : "incomplete");
export const VERDICTS = { complete: "✓ complete", incomplete: "! incomplete", waiting: "… nothing yet", error: "✕ not refreshed" };

/** What an answer covers, in one sentence. */
export const coverageText = (meta) => {
  const { generation, cut_seq, seq, offsets } = meta.as_of;
  const records = numberText(Object.values(offsets).reduce((sum, end) => sum + end, 0));
  const base = generation ? `generation ${generation} up to seq ${cut_seq}` : "no generation yet";
  const rest = `${countText(seq - cut_seq, "micro-batch", "micro-batches")} since`;
  return `Every number covers the first ${records} records of the log, to the last one: ${base}, and ${rest}.`;
};

/** What is missing, one line each. */
export const missingLines = (meta) => meta.missing.map((m) => `${m.what}: ${m.reason}`);

/** What was lost and accepted by a person, one line for each gap. */
export const gapLines = (meta) =>
  (meta.gaps ?? []).map((g) => `accepted gap (seq ${g.seq}): ${g.topic}:${g.partition} offsets ${numberText(g.from)} to ${numberText(g.to)} are not counted: ${g.reason}`);
