// The cut on an axis of time, told honestly. A generation is cut at an offset, not at a time: late events are behind
// the cut by their offset and in an old window by their time. So there are two facts to draw. A window is *provisional*
// when the stream has added to it since the cut (it stands among the rows of the speed layer): its number is exact, but
// no batch run has confirmed it yet. And the marker stands at the end of the newest window that the generation reaches:
// whatever is to the right of it the stream alone has counted.
import { keyOf } from "./keys.js";

const placeOf = (by, row) => `${row.window_start ?? ""}|${keyOf(by, row)}`;

/** Place → events counted since the cut, from the rows of the speed layer. */
export const tailOf = (by, speedRows) => new Map(speedRows.map((row) => [placeOf(by, row), row.n]));

/** How many events of a row no generation holds yet. */
export const fresh = (by, tail, row) => Math.min(tail.get(placeOf(by, row)) ?? 0, row.n);

/** Where the marker stands, in milliseconds; null when the generation reaches none of the rows. */
export const cutMark = (by, tail, rows) => {
  const reached = rows.filter((row) => fresh(by, tail, row) < row.n).map((row) => Date.parse(row.window_end));
  return reached.length ? reached.reduce((a, b) => Math.max(a, b)) : null;
};

/** What is provisional, in words; empty when nothing is. */
export const tailText = (by, tail, rows, as_of) => {
  const windows = rows.filter((row) => fresh(by, tail, row) > 0);
  if (!windows.length) return "";
  const events = windows.reduce((sum, row) => sum + fresh(by, tail, row), 0).toLocaleString("en-GB");
  const since = as_of.generation ? `since generation ${as_of.generation} (cut at seq ${as_of.cut_seq})` : "and no generation is published yet";
  return `hollow points: ${events} events came ${since}`;
};
