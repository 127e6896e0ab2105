// Alerts over time: how far each event lay from the history of its key, with the rule's bounds.
import { drawnKeys, keyOf, slotsOf } from "./keys.js";
import { axis, legend, level, shapeOf, shared, timeAxis } from "./look.js";
import { numberText, signedText, timeText } from "./text.js";

/** `0.457 ± 0.031 of 1,204`: what was expected of an alert's event. */
export const expectedText = (rule, baseline) => {
  const scale = rule.fields[rule.of].scale || 1;
  return `${numberText(baseline.mean, scale)} ± ${numberText(baseline.stddev, scale)} of ${numberText(baseline.n)}`;
};

const lines = (rule, row) => [
  `z ${signedText(row.z, 2)}`,
  `${rule.of} ${numberText(row[rule.of], rule.fields[rule.of].scale)}${rule.unit ? ` ${rule.unit}` : ""}`,
  `expected ${expectedText(rule, row.baseline)}`,
  ...rule.show.filter((name) => name !== rule.of).slice(0, 3).map((name) => `${name} ${row[name] ?? "–"}`),
];

/** The configuration of the chart; asked: {rule, rows, known, theme, bounds}. */
export const alertChart = ({ rule, rows, known, theme, bounds }) => {
  const { keys } = drawnKeys(rule.by, rows);
  const slots = slotsOf(known, keys);
  const points = (key) => rows.filter((row) => keyOf(rule.by, row) === key).map((row) => ({ x: Date.parse(row[rule.time]), y: row.z, row }));
  const datasets = keys.map((key) => ({
    label: key,
    data: points(key),
    backgroundColor: theme.series[slots.get(key)],
    // hollow: somebody has acknowledged it
    pointBackgroundColor: points(key).map((p) => (p.row.acknowledgement?.acknowledged ? theme.surface : theme.series[slots.get(key)])),
    borderColor: theme.series[slots.get(key)],
    pointStyle: shapeOf(slots.get(key)),
    pointRadius: 4.5,
    pointHoverRadius: 7,
  }));
  const options = shared(theme);
  options.plugins.legend.labels.generateLabels = legend(theme);
  options.interaction = { mode: "nearest", axis: "xy", intersect: false };
  options.plugins.tooltip.callbacks = {
    title: ([item]) => item && `${item.dataset.label}, ${timeText(item.raw.row[rule.time])}`,
    label: (item) => lines(rule, item.raw.row),
  };
  const beyond = Number(rule.beyond);
  options.plugins.annotation = { annotations: { high: level(theme, beyond), low: level(theme, -beyond) } };
  const farthest = Math.max(beyond, ...rows.map((row) => Math.abs(row.z))) * 1.1;
  options.scales = {
    x: timeAxis(theme, "time of the event, UTC", bounds),
    y: { ...axis(theme, "σ from the mean"), suggestedMin: -farthest, suggestedMax: farthest },
  };
  return { type: "scatter", data: { datasets }, options };
};
