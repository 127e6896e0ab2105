// Headline numbers: what the newest window says, how it changed since the one before, and the way it came.
import { mainColumn } from "./columns.js";
import { keyOf } from "./keys.js";

/** Per key {key, row, value, before, change, points: [[ms, value]], n}, in name order; rows oldest first. */
export const headlines = (view, measure, rows) => {
  const column = mainColumn(view, measure);
  const found = new Map();
  for (const row of rows) {
    if (row[column] === null) continue;
    const key = keyOf(view.by, row);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(row);
  }
  return [...found]
    .map(([key, own]) => {
      const [row, before] = [own.at(-1), own.at(-2)];
      const value = row[column];
      const change = before ? value - before[column] : null;
      return { key, row, value, before: before?.[column] ?? null, change, n: row.n, points: own.map((r) => [Date.parse(r.window_start), r[column]]) };
    })
    .sort((a, b) => (a.key < b.key ? -1 : 1));
};

/** Events per window over all keys, oldest first: [[ms, n]]; windows between the first and the last without events are 0. */
export const eventsPerWindow = (view, rows) => {
  const counted = new Map();
  for (const row of rows) counted.set(Date.parse(row.window_start), (counted.get(Date.parse(row.window_start)) ?? 0) + row.n);
  const times = [...counted.keys()].sort((a, b) => a - b);
  const step = view.window_s * 1000;
  if (!times.length || (times.at(-1) - times[0]) / step > 2000) return times.map((t) => [t, counted.get(t)]);
  const points = [];
  for (let t = times[0]; t <= times.at(-1); t += step) points.push([t, counted.get(t) ?? 0]);
  return points;
};

/** Points as an SVG path over a box whose bottom is the lowest value, or `floor`: {path, start, end}; null for too few. */
export const sparkline = (points, width, height, floor, pad = 3) => {
  if (points.length < 2) return null;
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys, ...(floor === undefined ? [] : [floor])), Math.max(...ys)];
  const at = ([x, y]) => [
    pad + ((x - left) / (right - left || 1)) * (width - 2 * pad),
    height - pad - (high === low ? 0.5 : (y - low) / (high - low)) * (height - 2 * pad),
  ];
  const drawn = points.map((p) => at(p).map((v) => Math.round(v * 10) / 10));
  return { path: `M${drawn.map((p) => p.join(" ")).join("L")}`, start: drawn[0], end: drawn.at(-1) };
};
