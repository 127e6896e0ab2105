// Rows as tables: columns, and cells as {text, value}; the same tables are read aloud, shown and saved as CSV.
import { expectedText } from "./alerts.js";
import { scaleOf } from "./columns.js";
import { fresh } from "./tail.js";
import { numberText, signedText, timeText, windowText } from "./text.js";

const cell = (column, row) => {
  const value = row[column.name];
  const number = typeof value === "number";
  if (column.kind === "window") return { text: windowText(column.window_s, value), value };
  if (column.kind === "time") return { text: timeText(value), value };
  if (column.kind === "sigma") return { text: signedText(value, 2), value, number: true, mark: value > 0 ? "high" : "low" };
  return { text: number ? numberText(value, column.scale) : String(value ?? "–"), value, number: number || column.kind === "number" };
};

const tableOf = (columns, rows) => ({ columns, rows: rows.map((row) => columns.map((column) => cell(column, row))) });
const texts = (names) => names.map((name) => ({ name, title: name, kind: "text" }));
const number = (name, title, scale) => ({ name, title, kind: "number", scale });

/** A view's rows; with a tail the newest window first, and how many events of each row no generation holds yet. */
export const viewTable = (view, rows, tail) => {
  const columns = [
    ...(view.window_s ? [{ name: "window_start", title: "window (UTC)", kind: "window", window_s: view.window_s }] : []),
    ...(view.top ? [number("rank", "rank", 0)] : []),
    ...texts(view.by),
    ...texts((view.texts ?? []).map((c) => c.column)),
    ...view.columns.map((c) => number(c.column, c.column, scaleOf(view, c))),
    ...texts((view.words ?? []).map((c) => c.column)),
    number("n", "n", 0),
    ...(tail ? [number("since_cut", "since the cut", 0)] : []),
  ];
  const shown = tail ? [...rows].reverse().map((row) => ({ ...row, since_cut: fresh(view.by, tail, row) })) : rows;
  return tableOf(columns, shown);
};

/** Alerts, newest first as they came. */
export const alertTable = (rule, rows) => {
  const field = (name) => (rule.fields[name].numeric ? number(name, name, rule.fields[name].scale) : { name, title: name, kind: "text" });
  const columns = [
    { name: rule.time, title: `${rule.time} (UTC)`, kind: "time" },
    ...texts(rule.by),
    field(rule.of),
    { name: "z", title: "z (σ from mean)", kind: "sigma" },
    { name: "expected", title: "expected (mean ± stddev of n)", kind: "text" },
    ...rule.show.filter((name) => name !== rule.of).map(field),
    { name: "place", title: "partition : offset", kind: "text" },
    ...(rows[0]?.acknowledgement ? texts(["acknowledged"]) : []),
  ];
  const word = (said) => (said?.acknowledged ? `✓ ${said.note}`.trim() : "");
  return tableOf(columns, rows.map((row) => ({ ...row, expected: expectedText(rule, row.baseline), place: `${row.partition} : ${row.offset}`, acknowledged: word(row.acknowledgement) })));
};

/** Comparisons with history, the farthest first. */
export const compareTable = (view, found) => {
  const columns = [
    ...texts(view.by),
    { name: "sigma", title: "σ from its history", kind: "sigma" },
    number("mean", "mean in the range", 4),
    number("n", "n in the range", 0),
    number("history_mean", "mean of all time", 4),
    number("history_stddev", "stddev of all time", 4),
    number("history_n", "n of all time", 0),
  ];
  const flat = (c) => ({ ...c.row, ...c, history_mean: c.history.mean, history_stddev: c.history.stddev, history_n: c.history.n });
  return tableOf(columns, found.map(flat));
};

const quoted = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** A table as CSV (RFC 4180), every number with all its digits. */
export const csvOf = ({ columns, rows }) =>
  [columns.map((c) => c.name), ...rows.map((cells) => cells.map((c) => c.value))].map((line) => line.map(quoted).join(",") + "\r\n").join("");
