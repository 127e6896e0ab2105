// The way of an event from topic to answer, as stages with a state each; a red one says what broke and what to do.
import { countText, numberText, rateText, spanText, timeText } from "./text.js";

const SLOW_LAG_S = 10; // the stream is asked for 500 ms; a record that waits longer is worth a warning
const STUCK_LAG_S = 60;

const stage = (name, title, facts, trouble) => ({ name, title, facts, state: "ok", what: "", next: "", ...trouble });
const bad = (what, next) => ({ state: "bad", what, next });
const warn = (what, next) => ({ state: "warn", what, next });
// a status names the parts that are silent for this dataset as `part: reason`
const down = (status, part, effect) => {
  const found = (status.problems ?? []).find((problem) => problem.startsWith(`${part}: `));
  return found ? bad(`${found.slice(part.length + 2)}. ${effect}`, "braid up") : null;
};

const topic = ({ status, rates }) =>
  stage(
    "topic", "Topic",
    [["records", numberText(sum(status.partitions, "end"))], ["arriving", rateText(rates.arriving)], ["partitions", numberText(status.partitions.length)]],
    down(status, "kafka", "New events are not taken in; what is counted stays exact."),
  ); // prettier-ignore

const stream = ({ status, rates, advice }) => {
  const { head, lag } = status;
  if (!head) return stage("stream", "Speed layer", [], bad("The dataset has no ledger yet.", status.next ?? "braid up"));
  const lost = (status.serving?.missing ?? []).find((m) => m.what === "gap" && m.from_seq > head.seq);
  const waits = `${countText(lag.events ?? 0, "record")} wait${lag.events === 1 ? "s" : ""} since ${spanText(lag.seconds)}`;
  const trouble = lost ? bad(lost.reason, advice.stream)
    : stopped(status, "speed") ? bad("Its job does not run: what arrives waits, and what is counted stays exact.", "braid up")
    : lag.events > 0 && lag.seconds > STUCK_LAG_S ? bad(`${waits}: the stream stands still.`, advice.stream)
    : lag.events > 0 && lag.seconds > SLOW_LAG_S ? warn(`${waits}: the stream is behind.`, advice.stream)
    : null; // prettier-ignore
  return stage(
    "stream", "Speed layer",
    [["head", `seq ${numberText(head.seq)}`], ["counting", rateText(status.throughput?.events_per_s ?? rates.counting)], ["lag", lag.events === null ? "–" : lag.events ? `${numberText(lag.events)} · ${spanText(lag.seconds)}` : "none"],
     ...(status.micro_batch ? [["micro-batch", millis(status.micro_batch.seconds)]] : []), ["committed", timeText(head.committed_at).slice(11)]],
    trouble,
  ); // prettier-ignore
};

const store = ({ status }) => {
  const meta = status.serving;
  const missing = (meta?.missing ?? []).filter((m) => ["fragments", "alerts", "ledger"].includes(m.what));
  const trouble = down(status, "cassandra", "Answers stay as they were and say so.") ?? (missing.length ? bad(missing[0].reason, `braid batch ${status.dataset}`) : null);
  return stage("store", "Cassandra", [["tail", meta ? countText(meta.as_of.seq - meta.as_of.cut_seq, "micro-batch", "micro-batches") : "–"]], trouble);
};

const batch = ({ status, now_ms, advice }) => {
  const found = status.generation;
  if (!found) return stage("batch", "Batch layer", [], bad("Nothing is known of it.", advice.batch));
  const late_s = found.next_due ? (now_ms - Date.parse(found.next_due)) / 1000 : 0;
  const missing = (status.serving?.missing ?? []).find((m) => m.what === "generation");
  const trouble = missing ? bad(missing.reason, advice.batch)
    : found.every_s && stopped(status, "batch") ? bad("Its schedule does not run: no newer generation will be published by itself.", "braid up")
    : found.every_s && late_s > found.every_s ? bad(`Two runs were missed: the last was due ${spanText(late_s)} ago.`, advice.batch)
    : found.every_s && late_s > Math.max(60, found.every_s / 2) ? warn(`The run due ${spanText(late_s)} ago has not published.`, advice.batch)
    : found.every_s && !found.generation ? warn("No generation is published yet: the stream alone has counted.", advice.batch)
    : null; // prettier-ignore
  const unaudited = (status.audit?.unaudited ?? []).reduce((sum_, u) => sum_ + u.through - u.seq + 1, 0);
  const audit = status.audit ? [["audited", `${numberText(status.audit.checked)} equal${unaudited ? `, ${numberText(unaudited)} by counts` : ""}`]] : [];
  const age = found.published_at ? `${spanText((now_ms - Date.parse(found.published_at)) / 1000)} ago` : "–";
  return stage(
    "batch", "Batch layer",
    [["generation", numberText(found.generation)], ["cut", `seq ${numberText(found.cut_seq)}`], ...audit, ["published", age], ["next run", found.next_due ? timeText(found.next_due).slice(11, 16) : "by hand"]],
    trouble,
  ); // prettier-ignore
};

const hive = ({ status }) =>
  stage("hive", "Hive", [["serves", status.serving?.as_of.generation ? `generation ${status.serving.as_of.generation}` : "nothing yet"]],
    down(status, "hive", "The loaded generation goes on; a newer one cannot be read.")); // prettier-ignore

const answers = ({ status }) => {
  const meta = status.serving;
  if (!meta) return stage("answers", "Answers", [], bad(`None yet: ${status.reason ?? "it is being loaded"}.`, status.next ?? "braid status"));
  const trouble = meta.complete ? null : bad(meta.missing.map((m) => `${m.what}: ${m.reason}`).join(" · "), "braid status");
  return stage("answers", "Answers", [["as of", `seq ${numberText(meta.as_of.seq)}`], ["complete", meta.complete ? "yes" : "no"], ["age", spanText(status.freshness_s)]], trouble);
};

const millis = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : spanText(seconds));
const stopped = (status, job) => status.jobs?.[job]?.running === false;

/** The phases of the newest micro-batch, in one line; empty when none was measured. */
export const phasesText = (micro) => {
  const phases = Object.entries(micro?.phases ?? {}).filter(([, seconds]) => seconds >= 0.0005);
  if (!phases.length) return "";
  return `micro-batch ${numberText(micro.seq)} took ${millis(micro.seconds)}: ${phases.map(([name, seconds]) => `${name} ${millis(seconds)}`).join(", ")}`;
};

const sum = (rows, name) => (rows.some((row) => row[name] === null) ? null : rows.reduce((total, row) => total + row[name], 0));

const auditText = (audit) => {
  const spans = (audit.unaudited ?? []).map((u) => `seq ${u.seq}${u.through > u.seq ? ` to ${u.through}` : ""} by counts: ${u.reason}`);
  return [`${numberText(audit.checked)} micro-batches equal`, ...spans].join("; ");
};

/** Lines [generation, state, cut, published, audit]: all that a status lists, else the one that is served. */
export const generationsOf = (status) => {
  const served = status.audit && status.generation ? [{ ...status.generation, state: "served", audit: status.audit }] : [];
  return (status.generations?.length ? status.generations : served).map((g) => [String(g.generation), g.state, `seq ${numberText(g.cut_seq)}`, timeText(g.published_at), auditText(g.audit)]);
};

/** What to type when a stage is red. */
export const adviceOf = (dataset) => ({ stream: `braid logs speed-${dataset}`, batch: `braid batch ${dataset}`, status: "braid status" });

/** The stages; asked: {status (of one dataset), rates: {arriving, counting}, now_ms}. */
export const stagesOf = (asked) => {
  const with_ = { ...asked, advice: adviceOf(asked.status.dataset) };
  return [topic, stream, store, batch, hive, answers].map((of) => of(with_));
};

/** The worst of some states. */
export const worst = (states) => ["bad", "warn", "ok"].find((state) => states.includes(state)) ?? "ok";
