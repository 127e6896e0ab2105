// What each kind of panel asks, draws, tabulates and says. All pure: answers in, configuration, table or text out.
import { alertChart } from "./alerts.js";
import { measureTitle, shownMeasure } from "./columns.js";
import { compareChart, compareText, comparisons, historyOf } from "./compare.js";
import { drawnKeys, newestOf } from "./keys.js";
import { coveredText, legendOf, mapTable, marksOf, nowhereText, placed, reachOf, sizesOf } from "./map.js";
import { seriesChart } from "./series.js";
import { spreadChart } from "./spread.js";
import { alertTable, compareTable, viewTable } from "./tables.js";
import { tailOf, tailText } from "./tail.js";
import { apiUrl, instantOf } from "./url.js";
import { countText, numberText } from "./text.js";

const ROWS = 3000; // of one view with windows: the newest
const ALERTS = 500;
const NEWEST = { order: "desc", limit: ROWS };

const boundsOf = (state, now_ms) => ({ min: instantOf(state.from, now_ms), max: instantOf(state.to, now_ms) ?? (state.from ? now_ms : null) });
const oldestFirst = (answer) => [...answer.data].reverse();
const leftText = (by, rows) => {
  const { left } = drawnKeys(by, rows);
  return left ? [`${countText(left, "smaller key")} in the table only`] : [];
};
const rowsText = (meta) => (meta.rows < meta.of_rows ? `the newest ${numberText(meta.rows)} of ${countText(meta.of_rows, "row")}` : countText(meta.rows, "row"));

const series = {
  urls: ({ view }, state) => [apiUrl(view, state, NEWEST), apiUrl(view, state, { ...NEWEST, layer: "speed" })],
  chart: ({ view }, [merged, speed], { state, theme, known, now_ms }) =>
    seriesChart({
      view, rows: oldestFirst(merged), tail: tailOf(view.by, speed.data), as_of: merged.meta.as_of, measure: shownMeasure(view, state), known, theme,
      bounds: boundsOf(state, now_ms),
    }), // prettier-ignore
  table: ({ view }, [merged, speed]) => viewTable(view, oldestFirst(merged), tailOf(view.by, speed.data)),
  caption: ({ view }) => `${view.title}, newest window first`,
  foot: ({ view }, [merged, speed]) => [
    rowsText(merged.meta), ...leftText(view.by, merged.data), tailText(view.by, tailOf(view.by, speed.data), merged.data, merged.meta.as_of),
  ], // prettier-ignore
  label: ({ view }, _, state) => `${measureTitle(view, shownMeasure(view, state))} per ${view.by.join(" and ")} over time`,
};

const spread = {
  urls: ({ view }, state) => [apiUrl(view, state, { limit: ROWS })],
  chart: ({ view }, [answer], { state, theme }) => spreadChart({ view, rows: answer.data, measure: shownMeasure(view, state), theme }),
  table: ({ view }, [answer]) => viewTable(view, answer.data),
  caption: ({ view }) => view.title,
  foot: ({ view }, [answer]) => [rowsText(answer.meta), "all time", ...leftText(view.by, answer.data)],
  label: ({ view }, _, state) => `${measureTitle(view, shownMeasure(view, state))} per ${view.by.join(" and ")}: mean, mean ± stddev, min to max`,
};

const narrowedInTime = (state) => Boolean(state.from || state.to);

const compared = ({ view }, [merged, totals], state, views) => {
  const measure = shownMeasure(view, state);
  const history = historyOf(views, view, measure);
  const rows = narrowedInTime(state) ? merged.data : newestOf(view.by, merged.data);
  return { measure, found: history ? comparisons({ view, measure, rows, history, totals: totals.data }) : [] };
};
const compare = {
  urls: ({ view, history }, state, views) => [
    // a range is merged into one exact row per key
    apiUrl(view, state, narrowedInTime(state) ? { window: "all", limit: ROWS } : NEWEST), apiUrl((historyOf(views, view, shownMeasure(view, state)) ?? history).view, state, { limit: ROWS }),
  ], // prettier-ignore
  chart: (spec, answers, { state, theme, views }) => compareChart({ view: spec.view, theme, ...compared(spec, answers, state, views) }),
  table: (spec, answers, { state, views }) => compareTable(spec.view, compared(spec, answers, state, views).found),
  caption: () => "the farthest from its history first; the history holds these events too",
  foot: (spec, answers, { state, views }) => [compareText(compared(spec, answers, state, views).found), narrowedInTime(state) ? "in the range shown" : "each key's newest window"],
  label: ({ view }, _, state) => `how far the mean ${measureTitle(view, shownMeasure(view, state))} lies from its history, per ${view.by.join(" and ")}`,
};

const alerts = {
  urls: ({ rule }, state) => [apiUrl({ ...rule, window_s: 1 }, state, { limit: ALERTS })],
  chart: ({ rule }, [answer], { state, theme, known, now_ms }) => alertChart({ rule, rows: answer.data, known, theme, bounds: boundsOf(state, now_ms) }),
  table: ({ rule }, [answer]) => alertTable(rule, answer.data),
  caption: ({ rule }) => `newest first; beyond ${rule.beyond} standard deviations of the history at that moment`,
  foot: (_, [answer]) => [answer.meta.rows < answer.meta.of_rows ? `the newest ${numberText(answer.meta.rows)} of ${countText(answer.meta.of_rows, "alert")}` : countText(answer.meta.rows, "alert")],
  label: ({ rule }) => `alerts over time: how many standard deviations each event's ${rule.of} lay from the mean`,
};

// lines to read: the rows of `top`, or of a view that holds nothing but texts
const list = {
  urls: ({ view }, state) => [apiUrl(view, state, view.window_s ? NEWEST : { limit: ROWS })],
  table: ({ view }, [answer]) => viewTable(view, answer.data),
  caption: ({ view }) => (view.top ? `the greatest ${view.top.of} first, ${view.top.k} at most${view.top.per.length ? ` per ${view.top.per.join(" and ")}` : ""}` : view.title),
  foot: ({ view }, [answer]) => [rowsText(answer.meta), view.window_s ? "newest window first" : "all time"],
};

// what a map asks depends on what it was answered: effects/map.js asks, its answers are the rows of a window and {windows, window_s, …}
const map = {
  chart: ({ view }, [rows, { most, extent }], { theme }) => ({ view, marks: marksOf(view, rows.data, most, theme), legend: legendOf(view, rows.data), sizes: sizesOf(view, most), reach: reachOf(view.map, [...(extent ?? []), ...rows.data]), theme }),
  table: ({ view }, [rows, { window_s }]) => mapTable(view, window_s, rows.data),
  caption: ({ view }) => `${view.title}, the window shown, the largest ${view.map.size} first`,
  foot: ({ view }, [rows, { windows, extent }]) => [countText(placed(view.map, rows.data).there.length, "place"), nowhereText(view, rows.data), ...coveredText(view, windows, extent)],
  label: ({ view }, [rows]) => `${countText(placed(view.map, rows.data).there.length, "place")}, coloured and shaped by ${view.map.colour}, as large as ${view.map.size}`,
};

export const KINDS = { series, spread, compare, alerts, list, map };

/** The measures a panel lets one choose among; fewer than two: no choice. */
export const measuresOf = (spec) => (spec.view && !["map", "list"].includes(spec.kind) ? spec.view.measures.map((m) => m.measure) : []);

/** Why a panel is empty, and what fills it: {text, command?, clear?}; clear: the way out is to show everything. */
export const emptyOf = (spec, described, counted, state) => {
  if (!counted) return { text: "No events yet. Send some:", command: described.commands.produce };
  if (state.from || state.to || Object.keys(state.keys).length) return { text: "Nothing in this range and with these keys.", clear: true };
  if (spec.kind === "alerts") {
    const { beyond, by, min_count } = spec.rule;
    return { text: `None so far: nothing lay more than ${beyond}σ from the mean of its ${by.join(", ")}, judged once ${min_count} events are known.` };
  }
  return { text: "Nothing here yet. Send some events:", command: described.commands.produce };
};
