// Numbers, times and durations for reading. Every function here is pure.

/** A number for reading: enough digits to tell neighbours apart, never more than its scale; counts have scale 0. */
export const numberText = (value, scale = 0) => {
  if (value === null || value === undefined) return "–";
  if (scale === 0 && Number.isInteger(value)) return value.toLocaleString("en-GB");
  const whole = Math.max(1, Math.floor(Math.log10(Math.abs(value) || 1)) + 1);
  const digits = Math.max(0, Math.min(scale || 4, 5 - Math.min(whole, 5), 4));
  return value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits });
};

/** A number with its sign, `+0.12` or `−0.12`. */
export const signedText = (value, scale = 0) =>
  value === null || value === undefined ? "–" : `${value > 0 ? "+" : value < 0 ? "−" : "±"}${numberText(Math.abs(value), scale)}`;

/** `2026-01-01T05:10:00Z` for reading: `2026-01-01 05:10:00`. */
export const timeText = (iso) => (iso ? iso.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "–");

/** A window's start for reading: without seconds where windows are whole minutes. */
export const windowText = (window_s, iso) => (window_s % 60 ? timeText(iso) : timeText(iso).replace(/:00$/, ""));

/** A duration in seconds for reading. */
export const spanText = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
};

/** Events per second for reading. */
export const rateText = (per_s) => {
  if (per_s === null || per_s === undefined) return "–";
  if (per_s >= 100) return `${Math.round(per_s).toLocaleString("en-GB")}/s`;
  return `${per_s === 0 ? "0" : per_s.toFixed(1)}/s`;
};

/** `1 row`, `2 rows`. */
export const countText = (count, one, many = `${one}s`) => `${numberText(count)} ${count === 1 ? one : many}`;

/** Milliseconds as ISO 8601 UTC without a fraction. */
export const isoOf = (ms) => new Date(Math.round(ms / 1000) * 1000).toISOString().replace(".000Z", "Z");

/** A text in pieces, its https addresses apart: [{text, href?}]. */
export const linkParts = (text) =>
  text
    .split(/(https:\/\/[^\s()<>"]*[^\s()<>".,;:])/)
    .filter(Boolean)
    .map((piece) => (piece.startsWith("https://") ? { text: piece.replace(/^https:\/\//, "").replace(/\/$/, ""), href: piece } : { text: piece }));
