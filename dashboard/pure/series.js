// A view with windows as lines: one per key, the provisional tail apart from what is published.
import { columnOf, mainColumn, measureTitle } from "./columns.js";
import { drawnKeys, keyOf, slotsOf } from "./keys.js";
import { axis, legend, marker, shapeOf, shared, statLines, timeAxis, valueTitle } from "./look.js";
import { cutMark, fresh } from "./tail.js";
import { countText, windowText } from "./text.js";

const CROWDED = 80; // points of one line; beyond that only provisional ones get a mark of their own

const point = (row, column, by, tail) => ({ x: Date.parse(row.window_start), y: row[column], fresh: fresh(by, tail, row), row });

/** One line. Segments of provisional windows are dashed, their points hollow; a window without events breaks the line. */
const line = (key, slot, data, window_ms, theme) => ({
  label: key,
  data,
  borderColor: theme.series[slot],
  backgroundColor: theme.series[slot],
  pointBackgroundColor: data.map((p) => (p.fresh ? theme.surface : theme.series[slot])),
  pointBorderColor: theme.series[slot],
  pointBorderWidth: 1.5,
  pointRadius: data.map((p) => (p.fresh ? 4 : data.length > CROWDED ? 0 : 3)),
  pointHoverRadius: 6,
  pointHitRadius: 8,
  pointStyle: shapeOf(slot),
  borderWidth: 2,
  segment: {
    borderDash: (c) => (data[c.p1DataIndex]?.fresh ? [5, 4] : undefined),
    borderColor: (c) => (c.p1.parsed.x - c.p0.parsed.x > window_ms ? "transparent" : undefined),
  },
});

/** Mean ± stddev around a single line, broken where a window without events lies between. */
const band = (view, measure, data, color) => {
  const window_ms = view.window_s * 1000;
  const stddev = columnOf(view, measure, "stddev");
  if (!stddev || !columnOf(view, measure, "mean")) return [];
  const edge = (sign, fill) => ({
    label: sign > 0 ? "mean ± stddev" : "lower edge", data: data.flatMap((p, i) => {
      const gap = i > 0 && p.x - data[i - 1].x > window_ms ? [{ x: data[i - 1].x + window_ms, y: null, edge: true }] : [];
      return [...gap, { x: p.x, y: p.row[stddev] === null ? null : p.y + sign * p.row[stddev], edge: true }];
    }),
    borderWidth: 0, pointRadius: 0, pointHitRadius: 0, pointHoverRadius: 0, backgroundColor: `${color}26`, borderColor: `${color}26`, fill, pointStyle: "rect", hidden: false,
  }); // prettier-ignore
  return [edge(1, "+1"), edge(-1, false)];
};

/**
 * The configuration of the chart.
 * asked: {view, rows (oldest first), tail (see tail.js), as_of, measure, known, theme, bounds: {min, max} in ms}
 */
export const seriesChart = ({ view, rows, tail, as_of, measure, known, theme, bounds }) => {
  const column = mainColumn(view, measure);
  const { keys } = drawnKeys(view.by, rows);
  const slots = slotsOf(known, keys);
  const lines = keys.map((key) => {
    const own = rows.filter((row) => keyOf(view.by, row) === key && row[column] !== null);
    return line(key, slots.get(key), own.map((row) => point(row, column, view.by, tail)), view.window_s * 1000, theme);
  });
  const datasets = lines.length === 1 ? [...lines, ...band(view, measure, lines[0].data, lines[0].borderColor)] : lines;
  const options = shared(theme);
  options.interaction = { mode: "nearest", axis: "xy", intersect: false };
  options.plugins.legend.labels.filter = (item) => item.text !== "lower edge";
  options.plugins.legend.labels.generateLabels = legend(theme);
  options.plugins.tooltip.filter = (item) => !item.raw.edge;
  options.plugins.tooltip.callbacks = {
    title: ([item]) => item && `${item.dataset.label}, ${windowText(view.window_s, item.raw.row.window_start)} – ${windowText(view.window_s, item.raw.row.window_end).slice(11)}`,
    label: (item) => statLines(view, measure, item.raw.row),
    footer: ([item]) => (item?.raw.fresh ? `provisional: ${countText(item.raw.fresh, "event")} since the cut` : ""),
  };
  const at = as_of?.generation ? cutMark(view.by, tail, rows) : null;
  const shown = at !== null && (!bounds?.max || at <= bounds.max) && (!bounds?.min || at >= bounds.min);
  options.plugins.annotation = { annotations: shown ? { cut: marker(theme, at, `generation ${as_of.generation} reaches to here`) } : {} };
  options.scales = { x: timeAxis(theme, "start of the window, UTC", bounds), y: axis(theme, valueTitle(view, column, measureTitle(view, measure))) };
  return { type: "line", data: { datasets }, options };
};
