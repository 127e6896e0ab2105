// Ticks of an axis of time at round instants UTC, as many as can be read.
const SECOND = 1000;
const STEPS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000].map((s) => s * SECOND);
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const two = (value) => String(value).padStart(2, "0");

/** The step between ticks, in milliseconds, for at most `most` of them. */
export const stepOf = (span_ms, most) => STEPS_MS.find((step) => span_ms / step <= most) ?? STEPS_MS.at(-1);

/** Round instants from min to max milliseconds. */
export const ticksOf = (min, max, most) => {
  const step = stepOf(max - min, Math.max(2, most));
  const ticks = [];
  for (let at = Math.ceil(min / step) * step; at <= max && ticks.length < 200; at += step) ticks.push(at);
  return ticks;
};

/** A tick for reading: the time of day, or the day where one begins. */
export const tickText = (ms, step_ms) => {
  const at = new Date(ms);
  if (step_ms >= 2592000 * SECOND) return `${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  if (ms % (86400 * SECOND) === 0) return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  const minute = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return step_ms < 60 * SECOND ? `${minute}:${two(at.getUTCSeconds())}` : minute;
};
