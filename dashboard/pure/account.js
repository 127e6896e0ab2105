// Conservation: offsets covered = good + copies + dead letters + absent. Nothing is silently discarded.
import { numberText } from "./text.js";

/**
 * The account of a dataset as a table: a line per partition where the status tells them apart, and the sum.
 * adds: whether the sum comes out; null when there is nothing to add up.
 */
export const accountOf = (status) => {
  const of = new Map((status.conservation?.partitions ?? []).map((row) => [`${row.topic}:${row.partition}`, row]));
  const lines = status.partitions.map((p) => ({ ...p, ...of.get(`${p.topic}:${p.partition}`) }));
  const counts = status.counts;
  const covered = lines.every((p) => p.head !== null) ? lines.reduce((total, p) => total + p.head, 0) : null;
  const told = counts ? counts.good + counts.copies + counts.dead + counts.absent : null;
  const columns = ["topic : partition", "topic end", "covered", "waiting", "counted", "copies", "dead letters", "absent"];
  // of a single partition the counts of the dataset are its own
  const own = (p) => (lines.length === 1 ? { ...counts, ...p } : p);
  const rows = lines.map(own).map((p) => [`${p.topic} : ${p.partition}`, p.end, p.head, p.lag, p.good, p.copies, p.dead, p.absent]);
  const ends = lines.every((p) => p.end !== null) ? lines.reduce((total, p) => total + p.end, 0) : null;
  const total = lines.length > 1 ? ["together", ends, covered, status.lag.events, counts?.good, counts?.copies, counts?.dead, counts?.absent] : null;
  const adds = covered === null || told === null ? null : covered === told;
  return { columns, rows, total, adds, text: accountText(adds, covered, counts, told) };
};

const accountText = (adds, covered, counts, told) => {
  if (adds === null) return "Nothing is counted yet.";
  const parts = `${numberText(counts.good)} counted + ${numberText(counts.copies)} copies + ${numberText(counts.dead)} dead letters + ${numberText(counts.absent)} absent`;
  return adds ? `${numberText(covered)} offsets covered = ${parts}` : `${numberText(covered)} offsets covered, but ${parts} = ${numberText(told)}`;
};
