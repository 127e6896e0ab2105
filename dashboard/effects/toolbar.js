// What is looked at, as controls: range, keys, refresh, theme. They show the state and ask for another one.
import { without } from "../pure/keys.js";
import { RANGES, REFRESH_S, START, THEMES, elsewhere, format, narrowed } from "../pure/url.js";
import { byId, h, replaceIfOther } from "./dom.js";

const option = (value, text) => h("option", { value, textContent: text });
const minuteOf = (iso) => (/^\d{4}/.test(iso ?? "") ? iso.slice(0, 16) : "");

export class Toolbar {
  constructor(app) {
    this.app = app;
    byId("refresh").append(...REFRESH_S.map((s) => option(s, s === 0 ? "off" : s < 60 ? `every ${s} s` : `every ${s / 60} min`)));
    byId("theme").append(...THEMES.map((name) => option(name, name)));
    byId("range").append(option("", "Everything, the newest"), ...RANGES.map(([from, text]) => option(from, text)), option("custom", "From … to …"));
    byId("refresh").onchange = ({ target }) => app.go({ refresh: Number(target.value) });
    byId("theme").onchange = ({ target }) => app.go({ theme: target.value });
    byId("range").onchange = ({ target }) => this.#ranged(target.value);
    byId("now").onclick = () => app.refresh();
    byId("custom").onsubmit = (event) => {
      event.preventDefault();
      const [from, to] = ["from", "to"].map((id) => (byId(id).value ? `${byId(id).value.slice(0, 16)}:00Z` : null));
      app.go({ from, to });
    };
  }

  #ranged(value) {
    if (value !== "custom") return this.app.go({ from: value || null, to: null });
    byId("custom").hidden = false;
    byId("from").focus();
    return undefined;
  }

  show(state, catalogue) {
    byId("refresh").value = String(state.refresh);
    byId("theme").value = state.theme;
    const relative = state.from === null && state.to === null ? "" : RANGES.some(([from]) => from === state.from) && !state.to ? state.from : "custom";
    byId("range").value = relative;
    for (const part of document.querySelectorAll("[data-of=dataset]")) part.hidden = state.page !== "dataset";
    byId("custom").hidden = relative !== "custom" || state.page !== "dataset";
    [byId("from").value, byId("to").value] = [minuteOf(state.from), minuteOf(state.to)];
    this.#chips(state);
    this.#links(state, catalogue);
  }

  #chips(state) {
    const chips = Object.entries(state.keys).flatMap(([column, values]) => values.map((value) => ({ column, value })));
    replaceIfOther(byId("chips"), JSON.stringify(chips), () =>
      chips.map(({ column, value }) =>
        h("button", { type: "button", className: "chip", ariaLabel: `stop filtering by ${column} ${value}`, onclick: () => this.app.go({ keys: without(this.app.state.keys, column, value) }) },
          `${column} = ${value} `, h("span", { "aria-hidden": "true", textContent: "×" })),
      ),
    ); // prettier-ignore
    byId("reset").hidden = state.page !== "dataset" || !narrowed(state);
    byId("reset").onclick = () => this.app.go({ keys: START.keys, from: null, to: null });
  }

  #links(state, catalogue) {
    const to = (page, dataset, text) =>
      h("a", { href: format(elsewhere(state, page, dataset)), textContent: text, ...(state.page === page && (!dataset || state.dataset === dataset) ? { "aria-current": "page" } : {}) });
    const made = [to("overview", null, "Overview"), ...catalogue.map((d) => to("dataset", d.dataset, d.title)), to("pipeline", null, "Pipeline")];
    replaceIfOther(byId("nav"), made.map((a) => a.outerHTML).join(), () => made);
  }
}
