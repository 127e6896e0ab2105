// How charts look: axes, legend, tooltips; the theme's colours are an argument.
import { scaleOf, statOf } from "./columns.js";
import { countText, numberText } from "./text.js";
import { tickText, ticksOf } from "./ticks.js";

// only shapes that can be hollow; with eight colours no two keys look alike
const SHAPES = ["circle", "rect", "triangle", "rectRot"];
export const shapeOf = (slot) => SHAPES[slot % SHAPES.length];
const TICK_PX = 95;

/** An axis. */
export const axis = (theme, title) => ({
  title: { display: Boolean(title), text: title, color: theme.soft, font: { size: 12 } },
  ticks: { color: theme.soft, maxRotation: 0, autoSkipPadding: 18, padding: 8 },
  grid: { color: theme.grid, drawTicks: false },
  border: { display: false },
});

/** An axis of time, UTC, from min to max milliseconds where they are given. */
export const timeAxis = (theme, title, bounds) => ({
  type: "time",
  adapters: { date: { zone: "utc" } },
  ...axis(theme, title),
  afterBuildTicks: (scale) => {
    scale.ticks = ticksOf(scale.min, scale.max, scale.width / TICK_PX).map((value) => ({ value }));
  },
  ticks: {
    color: theme.soft, maxRotation: 0, padding: 8, autoSkip: false,
    callback: (value, i, all) => tickText(value, all.length > 1 ? all[1].value - all[0].value : 0),
  }, // prettier-ignore
  ...(bounds?.min ? { min: bounds.min } : {}),
  ...(bounds?.max ? { max: bounds.max } : {}),
});

/** Options that all charts share. */
export const shared = (theme) => ({
  responsive: true,
  maintainAspectRatio: false,
  animation: false,
  normalized: true,
  layout: { padding: { top: 6, right: 8 } },
  plugins: {
    legend: { position: "bottom", labels: { color: theme.ink, usePointStyle: true, boxWidth: 9, boxHeight: 9, padding: 14 } },
    tooltip: { backgroundColor: theme.ink, titleColor: theme.surface, bodyColor: theme.surface, footerColor: theme.surface, padding: 10, boxPadding: 5, usePointStyle: true },
  },
});

/** A legend that shows each series whole, whichever of its points are hollow. */
export const legend = (theme) => ({ data }) =>
  data.datasets.map((set, i) => ({
    text: set.label, fillStyle: set.backgroundColor, strokeStyle: set.borderColor, fontColor: theme.ink, pointStyle: set.pointStyle, lineWidth: 1.5, datasetIndex: i,
  })); // prettier-ignore

/** An upright line at an instant, with a word beside it. */
export const marker = (theme, at_ms, text) => ({
  type: "line", scaleID: "x", value: at_ms, borderColor: theme.soft, borderWidth: 1.5, borderDash: [4, 3],
  label: { display: true, content: text, position: "start", backgroundColor: theme.surface, color: theme.soft, font: { size: 11, weight: "normal" }, padding: { x: 5, y: 2 }, borderRadius: 4 },
}); // prettier-ignore

/** A line across at a value. */
export const level = (theme, value) => ({ type: "line", scaleID: "y", value, borderColor: theme.soft, borderWidth: 1, borderDash: [3, 4] });

/** Every statistic of a measure in one row, as lines of a tooltip. */
export const statLines = (view, measure, row) =>
  view.columns
    .filter((c) => c.measure === measure)
    .map((c) => `${c.stat} ${numberText(row[c.column], scaleOf(view, c))}`)
    .concat(countText(row.n, "event"));

/** What an axis of values shows: `mean fare (USD)`. */
export const valueTitle = (view, column, title) => `${statOf(view, column)} ${title}`.trim();
