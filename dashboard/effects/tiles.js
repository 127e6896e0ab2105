// Number tiles: a title, a number, what it means, and the way it came.
import { sparkline } from "../pure/headline.js";
import { numberText } from "../pure/text.js";
import { h, svg } from "./dom.js";

const [WIDE, HIGH] = [120, 30];

/** A small line of points; decoration, for the numbers stand beside it. */
export function spark(points, { slot, floor } = {}) {
  const drawn = sparkline(points, WIDE, HIGH, floor);
  const box = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "spark", "aria-hidden": "true", preserveAspectRatio: "none", ...(slot === undefined ? {} : { "data-slot": slot }) });
  if (drawn) {
    // counts stand on their zero, so the ground under the line means something; means do not
    if (floor !== undefined) box.append(svg("path", { d: `${drawn.path}L${drawn.end[0]} ${HIGH}L${drawn.start[0]} ${HIGH}Z`, class: "area" }));
    box.append(svg("path", { d: drawn.path, fill: "none", "vector-effect": "non-scaling-stroke" }));
  }
  return box;
}

/** A tile of a <dl>; a whole number is kept as data. */
export function tile(title, value, small, points) {
  const shown = typeof value === "number" ? h("data", { value: String(value), textContent: numberText(value) }) : String(value ?? "–");
  return h("div", {}, h("dt", { textContent: title }), h("dd", {}, shown, points?.length > 1 ? spark(points, { floor: 0 }) : null, h("small", { textContent: small })));
}
