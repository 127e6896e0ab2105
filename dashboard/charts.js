// Pure: an answer of the API, and what its view declares, in; a Chart.js configuration or a table out.
// No fetch, no DOM, no clock; so every line here can be tried by hand.

export const MOST_SERIES = 8; // more cannot be told apart; the table has them all
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3]];
const POINTS = ["circle", "rect", "triangle", "rectRot", "star", "crossRot", "rectRounded", "cross"];

/** The key of a row as one text: `Bern · taxi`. */
export const keyOf = (view, row) => view.by.map((column) => row[column]).join(" · ");

/** The column that holds a statistic of a measure, or undefined. */
export const columnOf = (view, measure, stat) =>
  view.columns.find((c) => c.measure === measure && c.stat === stat)?.column;

/** The column a chart of a measure draws: its mean, else the first it has. */
export const mainColumn = (view, measure) =>
  columnOf(view, measure, "mean") ?? view.columns.find((c) => c.measure === measure)?.column ?? "n";

/** Measures of a view in words: `ndvi (counts)`. */
export const measureTitle = (view, name) => {
  const measure = view.measures.find((m) => m.measure === name);
  return measure?.unit ? `${name} (${measure.unit})` : name;
};

/** A number for reading: enough digits to tell neighbours apart, never more than its scale; counts have scale 0. */
export const numberText = (value, scale = 0) => {
  if (value === null || value === undefined) return "–";
  if (scale === 0 && Number.isInteger(value)) return value.toLocaleString("en-GB");
  const whole = Math.max(1, Math.floor(Math.log10(Math.abs(value) || 1)) + 1);
  const digits = Math.max(0, Math.min(scale || 4, 5 - Math.min(whole, 5), 4));
  return value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};

/** `2026-01-01T05:10:00Z` for reading: `2026-01-01 05:10:00`. */
export const timeText = (iso) => (iso ? iso.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "–");

/** A window's start for reading: without seconds where windows are whole minutes. */
export const windowText = (view, iso) => (view.window_s % 60 ? timeText(iso) : timeText(iso).replace(/:00$/, ""));

/** A duration in seconds for reading. */
export const spanText = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
};

/** The keys that are drawn, in name order so that a key keeps its colour, and how many are not. */
export const drawnKeys = (view, rows) => {
  const weight = new Map();
  for (const row of rows) weight.set(keyOf(view, row), (weight.get(keyOf(view, row)) ?? 0) + row.n);
  const heaviest = [...weight].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, MOST_SERIES);
  return { keys: heaviest.map(([key]) => key).sort(), left: weight.size - heaviest.length };
};

// 24 hours, in every locale alike
const TIMES = { second: "HH:mm:ss", minute: "HH:mm", hour: "HH:mm", day: "d LLL", week: "d LLL", month: "LLL yyyy" };

const axis = (theme, title) => ({
  title: { display: Boolean(title), text: title, color: theme.soft, font: { size: 12 } },
  ticks: { color: theme.soft, maxRotation: 0, autoSkipPadding: 18, padding: 8 },
  grid: { color: theme.grid, drawTicks: false },
  border: { display: false },
});

const shared = (theme) => ({
  responsive: true,
  maintainAspectRatio: false,
  animation: false,
  normalized: true,
  plugins: {
    legend: {
      position: "bottom",
      labels: { color: theme.ink, usePointStyle: true, boxWidth: 9, boxHeight: 9, padding: 14 },
    },
    tooltip: {
      backgroundColor: theme.ink,
      titleColor: theme.surface,
      bodyColor: theme.surface,
      padding: 10,
      boxPadding: 5,
      usePointStyle: true,
    },
  },
});

/** Decimal digits of a column: a measure's own, none for counts. */
const scaleOf = (view, column) => (column.stat === "n" ? 0 : Math.max(1, view.measures.find((m) => m.measure === column.measure).scale));

/** Every statistic of a measure in one row, as lines of a tooltip. */
export const statLines = (view, measure, row) =>
  view.columns
    .filter((c) => c.measure === measure)
    .map((c) => `${c.stat} ${numberText(row[c.column], scaleOf(view, c))}`)
    .concat(`${row.n.toLocaleString("en-GB")} events`);

/** A line per key over windows. Where a window without events lies between two points the line is dotted. */
export const lineChart = ({ view, rows, measure, theme }) => {
  const column = mainColumn(view, measure);
  const { keys } = drawnKeys(view, rows);
  const window_ms = view.window_s * 1000;
  const datasets = keys.map((key, i) => ({
    label: key,
    data: rows
      .filter((row) => keyOf(view, row) === key && row[column] !== null)
      .map((row) => ({ x: Date.parse(row.window_start), y: row[column], row })),
    borderColor: theme.series[i],
    backgroundColor: theme.series[i],
    pointStyle: POINTS[i],
    borderDash: DASHES[i % DASHES.length],
    borderWidth: 2,
    pointRadius: 3,
    pointHoverRadius: 6,
    segment: { borderDash: (c) => (c.p1.parsed.x - c.p0.parsed.x > window_ms ? [1, 5] : undefined) },
  }));
  const options = shared(theme);
  options.interaction = { mode: "nearest", axis: "xy", intersect: false };
  options.plugins.tooltip.callbacks = {
    title: ([item]) => `${item.dataset.label}, ${windowText(view, item.raw.row.window_start)} – ${windowText(view, item.raw.row.window_end).slice(11)}`,
    label: (item) => statLines(view, measure, item.raw.row),
  };
  options.scales = {
    x: { type: "time", adapters: { date: { zone: "utc" } }, ...axis(theme, "start of the window, UTC"), time: { displayFormats: TIMES } },
    y: { ...axis(theme, `${stat(view, column)} ${measureTitle(view, measure)}`) },
  };
  return { type: "line", data: { datasets }, options };
};

const stat = (view, column) => view.columns.find((c) => c.column === column)?.stat ?? "";

/** Per key: the range from min to max, mean ± stddev within it, and the mean as a point. */
export const spreadChart = ({ view, rows, measure, theme }) => {
  const of = (name) => columnOf(view, measure, name);
  const [mean, stddev, low, high] = ["mean", "stddev", "min", "max"].map(of);
  const { keys } = drawnKeys(view, rows);
  const shown = keys.map((key) => rows.find((row) => keyOf(view, row) === key));
  const bar = (label, data, color, barThickness, order) => ({
    type: "bar", label, data, backgroundColor: color, barThickness, order, grouped: false, borderRadius: 4, borderSkipped: false, pointStyle: "rectRounded",
  });
  const datasets = [];
  if (mean) {
    datasets.push({
      type: "line", label: "mean", data: shown.map((row) => row[mean]), showLine: false, order: 0,
      pointRadius: 6, pointHoverRadius: 8, pointStyle: "rectRot", backgroundColor: theme.surface, borderColor: theme.ink, borderWidth: 2,
    });
  }
  if (mean && stddev) {
    const spread = shown.map((row) => (row[stddev] === null ? null : [row[mean] - row[stddev], row[mean] + row[stddev]]));
    datasets.push(bar("mean ± stddev", spread, theme.series[0], 16, 1));
  }
  if (low && high) datasets.push(bar("min to max", shown.map((row) => [row[low], row[high]]), theme.line, 8, 2));
  const options = shared(theme);
  options.indexAxis = "y";
  options.interaction = { mode: "index", axis: "y", intersect: false };
  options.plugins.tooltip.filter = (item) => item.datasetIndex === 0;
  options.plugins.tooltip.callbacks = {
    title: ([item]) => shown[item.dataIndex] && keyOf(view, shown[item.dataIndex]),
    label: (item) => statLines(view, measure, shown[item.dataIndex]),
  };
  options.scales = {
    x: axis(theme, measureTitle(view, measure)),
    y: { ...axis(theme, ""), offset: true, ticks: { color: theme.ink, autoSkip: false }, grid: { display: false } },
  };
  return { type: "bar", data: { labels: keys, datasets }, options };
};

/** The configuration that fits a view: lines over windows, or spreads of all time. */
export const chartOf = (asked) => (asked.view.window_s ? lineChart(asked) : spreadChart(asked));

/** A view's rows as a table: columns with their kind, and cells as {text, value}. */
export const viewTable = (view, rows) => {
  const columns = [
    ...(view.window_s ? [{ name: "window_start", title: "window (UTC)", kind: "window" }] : []),
    ...view.by.map((name) => ({ name, title: name, kind: "text" })),
    ...view.columns.map((c) => ({ name: c.column, title: c.column, kind: "number", scale: scaleOf(view, c) })),
    { name: "n", title: "n", kind: "number", scale: 0 },
  ].map((column) => ({ ...column, view }));
  return tableOf(columns, view.window_s ? [...rows].reverse() : rows);
};

const field = (rule, name) => ({ name, title: name, kind: rule.fields[name].numeric ? "number" : "text", scale: rule.fields[name].scale });

/** Alerts as a table, newest first as they came. */
export const alertTable = (rule, rows) => {
  const columns = [
    { name: rule.time, title: `${rule.time} (UTC)`, kind: "time" },
    ...rule.by.map((name) => ({ name, title: name, kind: "text" })),
    field(rule, rule.of),
    { name: "z", title: "σ from mean", kind: "z" },
    { name: "expected", title: "expected (mean ± stddev of n)", kind: "text" },
    ...rule.show.filter((name) => name !== rule.of).map((name) => field(rule, name)),
    { name: "place", title: "partition : offset", kind: "text" },
  ];
  const { scale } = rule.fields[rule.of];
  const expected = (b) => `${numberText(b.mean, scale || 1)} ± ${numberText(b.stddev, scale || 1)} of ${numberText(b.n)}`;
  const shown = rows.map((row) => ({ ...row, expected: expected(row.baseline), place: `${row.partition} : ${row.offset}` }));
  return tableOf(columns, shown);
};

const tableOf = (columns, rows) => ({ columns, rows: rows.map((row) => columns.map((column) => cell(column, row[column.name]))) });

const cell = (column, value) => {
  const number = typeof value === "number";
  if (column.kind === "window") return { text: windowText(column.view, value), value };
  if (column.kind === "time") return { text: timeText(value), value };
  if (column.kind === "z") return { text: number ? `${value > 0 ? "+" : ""}${value.toFixed(2)}` : "–", value, number: true, mark: value > 0 ? "high" : "low" };
  return { text: number ? numberText(value, column.scale) : String(value ?? "–"), value, number: number || column.kind === "number" };
};

/** What an answer covers, in one sentence. */
export const coverageText = (meta) => {
  const { generation, cut_seq, seq, offsets } = meta.as_of;
  const records = Object.values(offsets).reduce((sum, end) => sum + end, 0).toLocaleString("en-GB");
  const tail = seq - cut_seq;
  const base = generation ? `generation ${generation} up to seq ${cut_seq}` : "no generation yet";
  const rest = tail === 1 ? "1 micro-batch since" : `${tail.toLocaleString("en-GB")} micro-batches since`;
  return `Every number covers the first ${records} records of the log, to the last one: ${base}, and ${rest}.`;
};
