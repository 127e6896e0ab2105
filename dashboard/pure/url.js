// What is looked at, as the page's address: a link is a view. `parse` and `format` are inverse to each other, and what
// an address holds that is no view is left out rather than guessed.

export const REFRESH_S = [0, 1, 5, 30, 60]; // 0: off
export const THEMES = ["auto", "light", "dark"];
export const PAGES = ["overview", "dataset", "pipeline"];
export const RANGES = [
  ["now-5m", "Last 5 minutes"],
  ["now-15m", "Last 15 minutes"],
  ["now-1h", "Last hour"],
  ["now-6h", "Last 6 hours"],
  ["now-24h", "Last 24 hours"],
  ["now-7d", "Last 7 days"],
];
export const START = { page: "overview", dataset: null, from: null, to: null, keys: {}, refresh: 5, theme: "auto", panel: null, measures: {}, at: {}, per: {} };

const RELATIVE = /^now(?:-([1-9][0-9]{0,5})([smhd]))?$/;
const ABSOLUTE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z$/;
const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Seconds of a length such as `10m`; null for none. */
export const lengthOf = (text) => {
  const found = /^([1-9][0-9]{0,5})([smhd])$/.exec(text ?? "");
  return found ? (Number(found[1]) * UNIT_MS[found[2]]) / 1000 : null;
};

/** A bound in milliseconds, `now` resolved; null for no bound or none that can be read. */
export const instantOf = (text, now_ms) => {
  const relative = RELATIVE.exec(text ?? "");
  if (relative) return relative[1] ? now_ms - Number(relative[1]) * UNIT_MS[relative[2]] : now_ms;
  const at = ABSOLUTE.test(text ?? "") ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
};

const bound = (text) => (instantOf(text, 0) === null ? null : text);

/** The view that an address shows. */
export const parse = (search) => {
  const given = new URLSearchParams(search);
  const state = { ...START, keys: {}, measures: {}, at: {}, per: {} };
  state.dataset = given.get("dataset") || null;
  state.page = PAGES.includes(given.get("page")) ? given.get("page") : state.dataset ? "dataset" : "overview";
  if (state.page === "dataset" && !state.dataset) state.page = "overview";
  state.from = bound(given.get("from"));
  state.to = bound(given.get("to"));
  if (given.has("refresh") && REFRESH_S.includes(Number(given.get("refresh")))) state.refresh = Number(given.get("refresh"));
  if (THEMES.includes(given.get("theme"))) state.theme = given.get("theme");
  state.panel = given.get("panel") || null;
  for (const [name, value] of given) {
    if (name.startsWith("key.") && name.length > 4) (state.keys[name.slice(4)] ??= []).push(value);
    if (name.startsWith("measure.") && name.length > 8) state.measures[name.slice(8)] = value;
    if (name.startsWith("at.") && name.length > 3 && ABSOLUTE.test(value) && instantOf(value, 0) !== null) state.at[name.slice(3)] = value;
    if (name.startsWith("per.") && name.length > 4 && lengthOf(value)) state.per[name.slice(4)] = value;
  }
  for (const [column, values] of Object.entries(state.keys)) state.keys[column] = [...new Set(values)].sort();
  return state;
};

/** The address that shows a view, `/` or `/?…`, with nothing in it that is so anyway. */
export const format = (state) => {
  const search = new URLSearchParams();
  if (state.page === "pipeline") search.set("page", "pipeline");
  if (state.dataset) search.set("dataset", state.dataset);
  for (const name of ["from", "to", "panel"]) if (state[name]) search.set(name, state[name]);
  for (const column of Object.keys(state.keys).sort()) for (const value of [...state.keys[column]].sort()) search.append(`key.${column}`, value);
  for (const view of Object.keys(state.measures).sort()) search.set(`measure.${view}`, state.measures[view]);
  for (const name of ["per", "at"]) for (const view of Object.keys(state[name]).sort()) search.set(`${name}.${view}`, state[name][view]);
  if (state.refresh !== START.refresh) search.set("refresh", String(state.refresh));
  if (state.theme !== START.theme) search.set("theme", state.theme);
  const text = search.toString();
  return text ? `/?${text}` : "/";
};

/** Another page, with what belongs to the old one left behind: range, keys, panel. */
export const elsewhere = (state, page, dataset = null) => ({ ...START, keys: {}, measures: {}, at: {}, per: {}, page, dataset, refresh: state.refresh, theme: state.theme });

/** The address of the API that answers `about` (a view or an alert rule) in a state. */
export const apiUrl = (about, state, more = {}) => {
  const [path, own] = about.url.split("?");
  const search = new URLSearchParams(own);
  const timed = about.window_s !== null; // alerts have times too
  if (timed && state.from) search.set("from", state.from);
  if (timed && state.to) search.set("to", state.to);
  for (const column of about.by) for (const value of state.keys[column] ?? []) search.append(about.filters?.[column] ?? column, value);
  for (const [name, value] of Object.entries(more)) {
    search.delete(name);
    for (const one of [value].flat()) search.append(name, String(one));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
};

/** Whether anything but everything is asked for. */
export const narrowed = (state) => Boolean(state.from || state.to || Object.keys(state.keys).length);

/** The part of a state that shows from min to max milliseconds, in whole seconds, at least one. */
export const isRange = (min_ms, max_ms) => {
  const from = Math.floor(min_ms / 1000) * 1000;
  const to = Math.max(Math.ceil(max_ms / 1000) * 1000, from + 1000);
  return { from: new Date(from).toISOString().replace(".000Z", "Z"), to: new Date(to).toISOString().replace(".000Z", "Z") };
};
