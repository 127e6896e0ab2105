// One dataset: what its answers cover, its headline numbers, and its panels.
import { drawable, mainColumn, measureTitle, shownMeasure, statOf } from "../pure/columns.js";
import { VERDICTS, coverageText, gapLines, missingLines, verdictOf } from "../pure/cover.js";
import { eventsPerWindow, headlines } from "../pure/headline.js";
import { chosen, declaredKeys, drawnKeys, knownKeys, slotsOf, toggled } from "../pure/keys.js";
import { panelsOf } from "../pure/panels.js";
import { numberText, rateText, signedText, spanText, timeText, windowText } from "../pure/text.js";
import { apiUrl, isRange } from "../pure/url.js";
import { ask } from "./ask.js";
import { h, replaceIfOther, say, stamp } from "./dom.js";
import { MapPanel } from "./map.js";
import { Panel } from "./panel.js";
import { spark, tile } from "./tiles.js";

const NEWEST = { order: "desc", limit: 600 };

export class DatasetPage {
  #known = new Map();

  constructor(described, app) {
    Object.assign(this, { described, app, root: stamp("dataset"), counted: 0 });
    this.part = (selector) => this.root.querySelector(selector);
    this.part("h2").textContent = described.title;
    this.part(".about").textContent = described.description;
    this.panels = panelsOf(described).map((spec) => (spec.kind === "map" ? new MapPanel(spec, this) : new Panel(spec, this)));
    this.part(".panels").append(...this.panels.map((p) => p.root));
    this.view = described.views.find((v) => v.window_s && drawable(v));
  }

  // ---- what panels take ----

  get state() {
    return this.app.state;
  }

  go(patch) {
    this.app.go(patch);
  }

  /** A panel has changed what it shows, in the state itself: the address says so, and nothing else is asked. */
  note() {
    this.app.note();
  }

  again() {
    this.app.refresh();
  }

  range(min_ms, max_ms) {
    this.app.go(isRange(min_ms, max_ms));
  }

  pick(by, row, more) {
    this.app.go({ keys: toggled(this.state.keys, by, row, more) });
  }

  /** All keys known of a view or a rule, in the order of their colours. */
  known(about) {
    return this.#known.get(about.by.join()) ?? declaredKeys(this.described.views, about.by);
  }

  know(about, rows) {
    this.#known.set(about.by.join(), knownKeys(about.by, this.known(about), rows));
  }

  // ---- refreshing ----

  async refresh({ status }) {
    const found = status.get(this.described.dataset);
    this.#alone();
    if (!this.#cover(found)) return;
    const asked = this.panels.filter((p) => !p.root.hidden).map((p) => p.refresh());
    const done = await Promise.allSettled([this.#headline(), ...asked]);
    const failed = done.find((d) => d.status === "rejected");
    if (failed) throw failed.reason;
  }

  #alone() {
    const { panel } = this.state;
    const there = this.panels.some((p) => p.spec.name === panel);
    this.root.classList.toggle("alone", there);
    for (const one of this.panels) {
      one.root.hidden = there && one.spec.name !== panel;
      one.part(".open").textContent = there ? "All panels" : "Open";
      one.part(".open").ariaPressed = String(there);
    }
  }

  #cover(status) {
    const meta = status?.serving;
    const state = verdictOf(meta);
    this.counted = status?.counts?.good ?? 0;
    this.part(".covers").dataset.state = state;
    this.part(".panels").hidden = !meta;
    this.part(".pill").textContent = VERDICTS[state];
    if (meta) this.part(".sentence").textContent = coverageText(meta);
    else say(this.part(".sentence"), `${status?.reason ?? "No answer yet"}.`, status?.next ?? "braid status");
    const reasons = meta ? [...missingLines(meta), ...gapLines(meta)] : (status?.problems ?? []);
    this.part(".missing").hidden = !reasons.length;
    this.part(".missing").replaceChildren(...reasons.map((reason) => h("li", { textContent: reason })));
    this.tiles = status ? this.#tiles(status) : [];
    this.part(".tiles").replaceChildren(...this.tiles);
    return Boolean(meta);
  }

  #tiles(status) {
    const { head, generation, counts, lag, serving } = status;
    if (!head) return [];
    const next = generation.next_due ? ` · next ${timeText(generation.next_due).slice(11, 16)}` : "";
    const { counting } = this.app.rates(status.dataset);
    return [
      tile("Events counted", counts.good, counting ? rateText(counting) : `${numberText(counts.copies)} copies left out`, this.way),
      tile("Generation", generation.generation, generation.published_at ? `published ${timeText(generation.published_at).slice(0, 16)}${next}` : `run ${this.described.commands.batch}`),
      tile("Head", serving?.as_of.seq ?? head.seq, `seq · ${numberText(generation.seqs_behind_head)} past the cut`),
      tile("Freshness", spanText(status.freshness_s), "head was confirmed so long ago"),
      tile("Waiting in Kafka", lag.events, lag.events ? `for ${spanText(lag.seconds)}` : "nothing"),
      tile("Alerts", counts.alerts, "since the beginning"),
      tile("Dead letters", counts.dead, counts.absent ? `${numberText(counts.absent)} offsets absent` : "set aside with a reason"),
    ];
  }

  /** Per key what its newest window says; of all keys, whatever is chosen, so that another can be. */
  async #headline() {
    const { view, state } = this;
    if (!view) return;
    const { body } = await ask(apiUrl(view, { ...state, keys: {} }, NEWEST));
    if (state !== this.state) return;
    const rows = [...body.data].reverse();
    this.know(view, rows);
    this.way = eventsPerWindow(view, rows);
    const measure = shownMeasure(view, state);
    const { keys } = drawnKeys(view.by, rows);
    const slots = slotsOf(this.known(view), keys);
    const shown = headlines(view, measure, rows).filter((one) => keys.includes(one.key));
    this.part(".headline").hidden = !shown.length;
    const column = mainColumn(view, measure);
    this.part(".headline h3").textContent = `${statOf(view, column)} ${measureTitle(view, measure)} of the newest window, per ${view.by.join(" and ")}`;
    const { scale } = view.measures.find((m) => m.measure === measure);
    const signature = JSON.stringify([body.meta.as_of, state.keys, state.from, state.to, measure]);
    replaceIfOther(this.part(".keys"), signature, () => shown.map((one) => this.#key(one, slots.get(one.key), statOf(view, column) === "distinct" ? 0 : scale || 1)));
  }

  #key(one, slot, scale) {
    const { view, state } = this;
    const pressed = Object.keys(state.keys).length > 0 && chosen(state.keys, one.row);
    const since = `window ${windowText(view.window_s, one.row.window_start)}, ${numberText(one.n)} events`;
    return h(
      "button",
      {
        type: "button", className: "key", ariaPressed: String(pressed), data: { slot, key: one.key },
        title: `${one.key}: ${since}. Click to show only this key; Ctrl-click to add it.`,
        onclick: (event) => this.pick(view.by, one.row, event.ctrlKey || event.metaKey || event.shiftKey),
      },
      h("span", { className: "name" }, h("i", { className: "swatch" }), one.key),
      h("span", { className: "value", textContent: numberText(one.value, scale) }),
      h("span", { className: "change", textContent: one.change === null ? "first window" : `${signedText(one.change, scale)} vs. before` }),
      spark(one.points, { slot }),
    ); // prettier-ignore
  }

  redraw() {
    for (const panel of this.panels) panel.draw();
  }

  fail(trouble) {
    this.part(".covers").dataset.state = "error";
    this.part(".pill").textContent = VERDICTS.error;
    this.part(".sentence").textContent = `${trouble.message}.`;
    for (const panel of this.panels) panel.fail(trouble);
  }

  remove() {
    for (const panel of this.panels) panel.remove();
    this.root.remove();
  }
}

