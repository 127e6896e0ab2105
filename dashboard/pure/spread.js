// Per key: the range from min to max, mean ± stddev within it, the mean as a point, quantiles as strokes; a count as a bar.
import { columnOf, mainColumn, measureTitle } from "./columns.js";
import { drawnKeys, keyOf } from "./keys.js";
import { axis, shared, statLines } from "./look.js";

const bar = (label, data, color, barThickness, order) => ({
  type: "bar", label, data, backgroundColor: color, barThickness, order, grouped: false, borderRadius: 4, borderSkipped: false, pointStyle: "rectRounded",
}); // prettier-ignore

const diamonds = (data, theme) => ({
  type: "line", label: "mean", data, showLine: false, order: 0,
  pointRadius: 6, pointHoverRadius: 8, pointStyle: "rectRot", backgroundColor: theme.surface, borderColor: theme.ink, borderWidth: 2,
}); // prettier-ignore

const QUANTILES = ["p50", "p90", "p95", "p99"];
const strokes = (stat, data, theme, slot) => ({
  type: "line", label: stat, data, showLine: false, order: 0,
  pointRadius: 7, pointHoverRadius: 9, pointStyle: "crossRot", backgroundColor: theme.series[slot], borderColor: theme.series[slot], borderWidth: 2,
}); // prettier-ignore

/** The configuration of the chart; asked: {view, rows, measure, theme}. */
export const spreadChart = ({ view, rows, measure, theme }) => {
  const [mean, stddev, low, high] = ["mean", "stddev", "min", "max"].map((stat) => columnOf(view, measure, stat));
  const { keys } = drawnKeys(view.by, rows);
  const shown = keys.map((key) => rows.find((row) => keyOf(view.by, row) === key));
  const datasets = [];
  if (mean) datasets.push(diamonds(shown.map((row) => row[mean]), theme));
  if (mean && stddev) {
    const spread = shown.map((row) => (row[stddev] === null ? null : [row[mean] - row[stddev], row[mean] + row[stddev]]));
    datasets.push(bar("mean ± stddev", spread, theme.series[0], 16, 1));
  }
  QUANTILES.filter((stat) => columnOf(view, measure, stat)).forEach((stat, i) => {
    datasets.push(strokes(stat, shown.map((row) => row[columnOf(view, measure, stat)]), theme, i + 1)); // prettier-ignore
  });
  if (!datasets.length && !low) datasets.push(bar(mainColumn(view, measure), shown.map((row) => row[mainColumn(view, measure)]), theme.series[0], 16, 1));
  if (low && high) datasets.push(bar("min to max", shown.map((row) => [row[low], row[high]]), theme.faint, 8, 2));
  const options = shared(theme);
  options.indexAxis = "y";
  options.interaction = { mode: "index", axis: "y", intersect: false };
  options.plugins.tooltip.filter = (item) => item.datasetIndex === 0;
  options.plugins.tooltip.callbacks = {
    title: ([item]) => item && keyOf(view.by, shown[item.dataIndex]),
    label: (item) => statLines(view, measure, shown[item.dataIndex]),
  };
  options.scales = {
    x: axis(theme, measureTitle(view, measure)),
    y: { ...axis(theme, ""), offset: true, ticks: { color: theme.ink, autoSkip: false }, grid: { display: false } },
  };
  return { type: "bar", data: { labels: keys, datasets }, options };
};
