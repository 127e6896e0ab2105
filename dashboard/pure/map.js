// A view as a map: the rows of one window at their places, coloured and shaped by a declared word, as large as a number.
// Windows without events have no row, and those in which no row has a place are passed over: nothing is put where no
// event said it was.
import { scaleOf, statOf } from "./columns.js";
import { keyOf } from "./keys.js";
import { viewTable } from "./tables.js";
import { countText, numberText } from "./text.js";
import { apiUrl, lengthOf } from "./url.js";

export const WINDOWS = 5000; // the newest that can be scrubbed through; a range leads to older ones
const ROWS_AT_ONCE = 2000; // of one question for windows that are shown soon
const LARGEST_PX = 20;
const SMALLEST_PX = 4;
const NAMED = 12; // keys without a place that are named
// the first word the hottest; apart for every kind of colour blindness, and each has a shape of its own
const RAMPS = [[], [1], [1, 0], [1, 4, 0], [1, 4, 2, 0], [1, 4, 7, 2, 0]];
const SHAPES = ["rectRot", "triangle", "circle", "rect", "triangleDown", "pentagon"];
const CORNERS = { triangle: [3, 0], triangleDown: [3, 180], rectRot: [4, 0], rect: [4, 45], pentagon: [5, 0] };

// ---- what is asked ----

/** The coarser grids on which a view can be looked at, its own first: [{per, text}]; per "" is its own. */
export const grainsOf = (view) => {
  const coarser = ["10m", "1h", "1d", "7d", "30d"].filter((per) => lengthOf(per) > view.window_s && lengthOf(per) % view.window_s === 0);
  return [{ per: "", text: lengthText(view.window_s) }, ...coarser.map((per) => ({ per, text: lengthText(lengthOf(per)) }))];
};

/** A length in seconds, in the largest unit that it is whole in: `10 minutes`. */
export const lengthText = (seconds) => {
  const [unit, name] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([one]) => seconds % one === 0) ?? [1, "second"];
  return countText(seconds / unit, name);
};

const perOf = (view, state) => state.per[view.view] ?? "";
const rolled = (view, state) => (perOf(view, state) ? { window: perOf(view, state) } : {});
/** Seconds of a window as it is looked at. */
export const windowOf = (view, state) => (perOf(view, state) ? lengthOf(perOf(view, state)) : view.window_s);
const statsOf = (view, columns) => [...new Set(columns.map((column) => statOf(view, column)).filter(Boolean))].sort();

/** Asks which windows there are, one row each, the newest first; since: of windows from that instant on. */
export const windowsUrl = (view, state, since) =>
  apiUrl(view, state, { ...rolled(view, state), group_by: "", stats: statsOf(view, [view.map.lat]), order: "desc", limit: WINDOWS, ...(since ? { from: since } : {}) });

/** Asks for the rows of the windows from one to another, with the columns that are shown and no more. */
export const rowsUrl = (view, state, first, last) => {
  const { lat, lon, value, size, colour } = view.map;
  const judged = view.words.find((word) => word.column === colour).of;
  return apiUrl(view, state, { ...rolled(view, state), from: first.window_start, to: last.window_end, stats: statsOf(view, [lat, lon, value, size, judged]) });
};

/** Asks for one row a key over all windows: where the map has to reach. */
export const extentUrl = (view, state) => apiUrl(view, state, { window: "all", stats: statsOf(view, [view.map.lat, view.map.lon]) });

/** How many windows to ask for at once where there are so many keys. */
export const atOnce = (keys) => Math.min(60, Math.max(1, Math.floor(ROWS_AT_ONCE / Math.max(1, keys))));

// ---- windows ----

/** Windows that hold a place, the oldest first, out of rows newest first. */
export const windowsWithPlaces = (view, rows) => rows.filter((row) => row[view.map.lat] !== null).map(({ window_start, window_end }) => ({ window_start, window_end })).reverse();

/** The rows of all windows, newest first, after those since an instant were asked again. */
export const merged = (known, since, fresh) => [...fresh, ...known.filter((row) => row.window_start < since)].slice(0, WINDOWS);

/** Where the window stands that begins at an instant, or the last one before it; the last one of all for none. */
export const indexOf = (windows, start) => {
  if (!start) return windows.length - 1;
  const later = windows.findIndex((w) => Date.parse(w.window_start) > Date.parse(start));
  return later < 0 ? windows.length - 1 : Math.max(0, later - 1);
};

// ---- places ----

/** [latitude, longitude] of a row, null where it has none; beyond 85° the map ends. */
export const placeOf = (map, row) => {
  const [lat, lon] = [row[map.lat], row[map.lon]];
  const real = typeof lat === "number" && typeof lon === "number" && Math.abs(lat) <= 85 && Math.abs(lon) <= 180;
  return real ? [lat, lon] : null;
};

/** Rows with a place and rows without one. */
export const placed = (map, rows) => ({ there: rows.filter((row) => placeOf(map, row)), nowhere: rows.filter((row) => !placeOf(map, row)) });

/** The corners between which all places lie, [[south, west], [north, east]]; null for no place. */
export const reachOf = (map, rows) => {
  const places = rows.map((row) => placeOf(map, row)).filter(Boolean);
  const edge = (pick, i) => places.reduce((found, place) => pick(found, place[i]), places[0]?.[i]);
  return places.length ? [[edge(Math.min, 0), edge(Math.min, 1)], [edge(Math.max, 0), edge(Math.max, 1)]] : null;
};

/** 1, 2 or 5 times a power of ten, not below a number: sizes seldom change while one scrubs. */
export const roundUp = (value) => {
  if (!(value > 0)) return 1;
  const ten = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((times) => times * ten).find((round) => round >= value * (1 - 1e-12));
};

/** The largest number among rows, for sizes. */
export const largestOf = (map, rows) => rows.reduce((most, row) => Math.max(most, row[map.size] ?? 0), 0);

/** Pixels: the area goes with the number. */
export const radiusOf = (value, most) => (value > 0 ? Math.max(SMALLEST_PX, LARGEST_PX * Math.sqrt(Math.min(1, value / most))) : SMALLEST_PX);

/** Word → {word, slot, shape}; a row without a word has none of them. */
export const levelsOf = (view) => {
  const { words } = view.words.find((word) => word.column === view.map.colour);
  return new Map(words.map((word, i) => [word, { word, slot: RAMPS[words.length]?.[i] ?? i % 8, shape: SHAPES[i % SHAPES.length] }]));
};

/** Corners of a shape of the same area as a circle of that radius, around 0; null for the circle itself. */
export const cornersOf = (shape, radius) => {
  if (!CORNERS[shape]) return null;
  const [count, turned] = CORNERS[shape];
  const reach = radius * Math.sqrt(Math.PI / (0.5 * count * Math.sin((2 * Math.PI) / count)));
  return Array.from({ length: count }, (_, i) => {
    const angle = ((turned - 90) * Math.PI) / 180 + (2 * Math.PI * i) / count;
    return [Math.round(reach * Math.cos(angle) * 100) / 100, Math.round(reach * Math.sin(angle) * 100) / 100];
  });
};
export const REACH = 1.56; // how far a corner lies out, in radii: a triangle's

/** What is drawn: [{key, at, radius, shape, color, row}], the largest first, so that none hides another; most: see largestOf. */
export const marksOf = (view, rows, most, theme) => {
  const levels = levelsOf(view);
  const { map } = view;
  return placed(map, rows)
    .there.map((row) => {
      const level = levels.get(row[map.colour]);
      return { key: keyOf(view.by, row), at: placeOf(map, row), radius: radiusOf(row[map.size], most), shape: level?.shape ?? "circle", color: level ? theme.series[level.slot] : theme.soft, row };
    })
    .sort((a, b) => b.radius - a.radius || (a.key < b.key ? -1 : 1));
};

// ---- words ----

/** Words with how many places have each: [{word, slot, shape, count}]. */
export const legendOf = (view, rows) => {
  const { there } = placed(view.map, rows);
  return [...levelsOf(view).values()].map((level) => ({ ...level, count: there.filter((row) => row[view.map.colour] === level.word).length }));
};

const titled = (view, name) => {
  const column = view.columns.find((c) => c.column === name);
  const unit = column && !["n", "distinct"].includes(column.stat) ? view.measures.find((m) => m.measure === column.measure)?.unit : "";
  return { scale: column ? scaleOf(view, column) : 0, unit: unit ? ` ${unit}` : "" };
};
const told = (view, name, row) => `${name} ${numberText(row[name], titled(view, name).scale)}${row[name] === null ? "" : titled(view, name).unit}`;

/** What is told of a place: {title, lines}. */
export const tipOf = (view, row) => {
  const { lat, lon, colour, value, size } = view.map;
  const [north, east] = [row[lat], row[lon]];
  return {
    title: keyOf(view.by, row),
    lines: [`${colour} ${row[colour] ?? "–"}`, ...[...new Set([value, size, "n"])].map((name) => told(view, name, row)), `${degreeText(north, "lat", 5)}, ${degreeText(east, "lon", 5)}`],
  };
};

const counted = (view) => titled(view, view.map.size).scale === 0;

/** The number that the largest size stands for, where the largest seen is another; counts begin at ten. */
export const mostOf = (view, largest) => roundUp(counted(view) ? Math.max(10, largest) : largest);

/** What sizes mean, for the legend: [{text, radius}]. */
export const sizesOf = (view, most) => {
  const { scale, unit } = titled(view, view.map.size);
  const text = (value) => `${numberText(value, Number.isInteger(value) ? 0 : scale)}${unit}`;
  const small = counted(view) ? Math.round(most / 10) : most / 10;
  return [{ text: text(small), radius: radiusOf(small, most) }, { text: `${text(most)} ${view.map.size}`, radius: radiusOf(most, most) }];
};

/** Keys without a place, counted and named as far as they fit. */
export const nowhereText = (view, rows) => {
  const { nowhere } = placed(view.map, rows);
  if (!nowhere.length) return "";
  const names = nowhere.map((row) => keyOf(view.by, row)).sort();
  const more = names.length > NAMED ? `, and ${numberText(names.length - NAMED)} more` : "";
  return `${numberText(names.length)} of ${countText(rows.length, "row")} in this window without a place, in the table only: ${names.slice(0, NAMED).join(", ")}${more}`;
};

/** What all windows hold, in words; windows: rows newest first; extent: one row a key, or null. */
export const coveredText = (view, windows, extent) => {
  const without = windows.filter((row) => row[view.map.lat] === null).length;
  return [
    windows.length >= WINDOWS ? `the newest ${numberText(WINDOWS)} windows; choose a time for older ones` : "",
    without ? `${countText(without, "window")} without any place passed over` : "",
    extent ? `${numberText(placed(view.map, extent).there.length)} of ${countText(extent.length, "key")} have a place at some time` : "",
  ].filter(Boolean);
};

/** A window in a time zone, and in UTC where that is another: `2026-01-01 01:00 – 01:01 Europe/Paris · 00:00 UTC`. */
export const spanIn = (zone, window_s, { window_start, window_end }) => {
  const parts = (iso, timeZone) => {
    const options = { timeZone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" };
    const found = Object.fromEntries(new Intl.DateTimeFormat("en-GB", options).formatToParts(new Date(iso)).map((p) => [p.type, p.value]));
    return { day: `${found.year}-${found.month}-${found.day}`, time: `${found.hour}:${found.minute}${window_s % 60 ? `:${found.second}` : ""}` };
  };
  const said = (timeZone) => {
    const [from, to] = [parts(window_start, timeZone), parts(window_end, timeZone)];
    return `${from.day} ${from.time} – ${to.day === from.day ? "" : `${to.day} `}${to.time}`;
  };
  const own = said(zone);
  return own === said("UTC") ? `${own} UTC` : `${own} ${zone} · ${said("UTC")} UTC`;
};

/** The rows of the window as a table, the largest first. */
export const mapTable = (view, window_s, rows) => {
  const columns = view.columns.filter((c) => rows.some((row) => c.column in row));
  return viewTable({ ...view, window_s, columns }, [...rows].sort((a, b) => (b[view.map.size] ?? 0) - (a[view.map.size] ?? 0)));
};

// ---- graticule ----

const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 45];

/** Degrees between lines, for at most `most` of them over a span. */
export const stepOf = (span, most) => STEPS.find((step) => span / step <= most) ?? STEPS.at(-1);

/** Round degrees from low to high. */
export const degreesOf = (low, high, step) => {
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 && found.length < 100; i += 1) found.push(Math.round(i * step * 1e6) / 1e6);
  return found;
};

/** A degree for reading: `41.9° N`; digits: after the point, at most. */
export const degreeText = (degree, axis, digits = 3) => {
  if (degree === null || degree === undefined) return "–";
  const side = degree === 0 ? "" : axis === "lat" ? (degree > 0 ? " N" : " S") : degree > 0 ? " E" : " W";
  return `${String(Number(Math.abs(degree).toFixed(digits)))}°${side}`;
};
