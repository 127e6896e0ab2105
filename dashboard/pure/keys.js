// Keys: what a row is about, which of them are drawn, and in which colour.

export const MOST_SERIES = 8; // more cannot be told apart; the table has them all

/** The key of a row as one text: `Bern · taxi`. */
export const keyOf = (by, row) => by.map((column) => row[column]).join(" · ");

/** The keys that are drawn, in name order, those with the most events first taken; and how many are not. */
export const drawnKeys = (by, rows) => {
  const weight = new Map();
  for (const row of rows) weight.set(keyOf(by, row), (weight.get(keyOf(by, row)) ?? 0) + (row.n ?? 1));
  const heaviest = [...weight].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, MOST_SERIES);
  return { keys: heaviest.map(([key]) => key).sort(), left: weight.size - heaviest.length };
};

/** The keys that a catalogue declares of some columns: a single column's values; none where it names none. */
export const declaredKeys = (views, by) => (by.length === 1 ? (views.find((v) => v.values?.[by[0]])?.values[by[0]] ?? []) : []);

/** All keys ever seen, in an order that never changes: those known before, then as they came, by name. */
export const knownKeys = (by, known, rows) => {
  const fresh = [...new Set(rows.map((row) => keyOf(by, row)))].filter((key) => !known.includes(key)).sort();
  return fresh.length ? [...known, ...fresh] : known;
};

/** Key → number of its colour: the same whatever else is drawn, as long as there are no more keys than colours. */
export const slotsOf = (known, drawn) => {
  const own = drawn.map((key) => known.indexOf(key) % MOST_SERIES);
  const clear = own.every((slot) => slot >= 0) && new Set(own).size === own.length;
  return new Map(drawn.map((key, i) => [key, clear ? own[i] : i]));
};

/** Whether a row is among those chosen. */
export const chosen = (keys, row) => Object.entries(keys).every(([column, values]) => !(column in row) || values.includes(row[column]));

/**
 * The filters after a click on a key: only it; or nothing when it was the only one; `more` adds or takes away one of
 * several values, where a key is a single column.
 */
export const toggled = (keys, by, row, more = false) => {
  const only = by.every((column) => keys[column]?.length === 1 && keys[column][0] === row[column]);
  const rest = Object.fromEntries(Object.entries(keys).filter(([column]) => !by.includes(column)));
  if (only) return rest;
  if (!more || by.length > 1) return { ...rest, ...Object.fromEntries(by.map((column) => [column, [row[column]]])) };
  const [column] = by;
  const held = keys[column] ?? [];
  const values = held.includes(row[column]) ? held.filter((v) => v !== row[column]) : [...held, row[column]].sort();
  return values.length ? { ...rest, [column]: values } : rest;
};

/** The filters without one value. */
export const without = (keys, column, value) => {
  const values = (keys[column] ?? []).filter((v) => v !== value);
  const rest = Object.fromEntries(Object.entries(keys).filter(([c]) => c !== column));
  return values.length ? { ...rest, [column]: values } : rest;
};

/** The newest row of each key; rows newest first. */
export const newestOf = (by, rows) => {
  const found = new Map();
  for (const row of rows) if (!found.has(keyOf(by, row))) found.set(keyOf(by, row), row);
  return [...found.values()];
};
