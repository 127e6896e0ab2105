// Which key is unusual now: what it measured in the range shown, against its whole history, in standard deviations of it.
import { columnOf, measureTitle } from "./columns.js";
import { drawnKeys, keyOf } from "./keys.js";
import { axis, level, shared } from "./look.js";
import { numberText, signedText } from "./text.js";

/** The view of all time whose keys and measure are those of a view with windows, as {view, measure}; else undefined. */
export const historyOf = (views, view, measure) => {
  const of = view.measures.find((m) => m.measure === measure)?.of;
  for (const other of views) {
    if (other.window_s || other.by.join() !== view.by.join()) continue;
    const same = other.measures.find((m) => m.of === of);
    if (same && columnOf(other, same.measure, "mean") && columnOf(other, same.measure, "stddev")) return { view: other, measure: same.measure };
  }
  return undefined;
};

/** Per key {key, row, n, mean, sigma, history}, from one row per key of now and of all time: the farthest from its history first; keys without a spread are left out. */
export const comparisons = ({ view, measure, rows, history, totals }) => {
  const mean = columnOf(view, measure, "mean");
  const column = (stat) => columnOf(history.view, history.measure, stat);
  const found = new Map(rows.filter((row) => mean && row[mean] !== null).map((row) => [keyOf(view.by, row), row]));
  return totals
    .map((total) => ({ key: keyOf(view.by, total), total, now: found.get(keyOf(view.by, total)) }))
    .filter(({ total, now }) => now && total[column("stddev")] > 0)
    .map(({ key, total, now }) => {
      const past = { n: total.n, mean: total[column("mean")], stddev: total[column("stddev")] };
      return { key, row: now, n: now.n, mean: now[mean], sigma: (now[mean] - past.mean) / past.stddev, history: past };
    })
    .sort((a, b) => Math.abs(b.sigma) - Math.abs(a.sigma) || (a.key < b.key ? -1 : 1));
};

/** The configuration of the chart; asked: {view, measure, found (comparisons), theme}. */
export const compareChart = ({ view, measure, found, theme }) => {
  const { keys } = drawnKeys(["key"], found);
  const shown = found.filter((c) => keys.includes(c.key));
  const options = shared(theme);
  options.indexAxis = "y";
  options.plugins.legend.display = false;
  options.interaction = { mode: "index", axis: "y", intersect: false };
  options.plugins.tooltip.callbacks = {
    title: ([item]) => shown[item.dataIndex].key,
    label: ({ dataIndex }) => compareLines(shown[dataIndex]),
  };
  options.plugins.annotation = { annotations: { zero: { ...level(theme, 0), scaleID: "x", borderDash: [], borderColor: theme.soft } } };
  const farthest = Math.max(1, ...shown.map((c) => Math.abs(c.sigma)));
  options.scales = {
    x: { ...axis(theme, `${measureTitle(view, measure)}: σ from the mean of its history`), suggestedMin: -farthest, suggestedMax: farthest },
    y: { ...axis(theme, ""), ticks: { color: theme.ink, autoSkip: false }, grid: { display: false } },
  };
  const colors = shown.map((c) => (c.sigma > 0 ? theme.high : theme.low));
  const data = { labels: shown.map((c) => c.key), datasets: [{ label: "difference", data: shown.map((c) => c.sigma), backgroundColor: colors, barThickness: 14, borderRadius: 4 }] };
  return { type: "bar", data, options };
};

/** One comparison, in lines. */
export const compareLines = (c) => [
  `${signedText(c.sigma, 2)} σ`,
  `now ${numberText(c.mean, 4)} of ${numberText(c.n)} events`,
  `history ${numberText(c.history.mean, 4)} ± ${numberText(c.history.stddev, 4)} of ${numberText(c.history.n)}`,
];

/** The most unusual key in one sentence; empty when there is none. */
export const compareText = (found) => {
  if (!found.length) return "";
  const [most] = found;
  const how = Math.abs(most.sigma) < 0.5 ? "none lies far from its history; the farthest is" : "most unusual:";
  return `${how} ${most.key}, ${signedText(most.sigma, 2)} σ from the mean of its ${numberText(most.history.n)} events`;
};
