// A map with time to scrub. It asks which windows there are, and the rows of the one that is shown; while somebody scrubs
// or it plays, those of some windows around it at once, and keeps them until the answers cover more of the log.
import { atOnce, extentUrl, grainsOf, indexOf, largestOf, merged, mostOf, rowsUrl, spanIn, windowOf, windowsUrl, windowsWithPlaces } from "../pure/map.js";
import { Trouble, ask } from "./ask.js";
import { h } from "./dom.js";
import { Panel } from "./panel.js";
import { Places } from "./places.js";

const ALL_EVERY = 12; // refreshes: a late event can open an old window
const STEP_MS = 400; // between two windows while it plays
const STILL_STEP_MS = 1200; // where less motion is asked for

export class MapPanel extends Panel {
  known = []; // rows of windows, the newest first
  windows = []; // those with places, the oldest first
  held = new Map(); // a window's start → its answer
  turn = 0;
  most = 0;

  constructor(spec, page) {
    super(spec, page);
    const { view, title } = spec;
    this.play = h("button", { type: "button", className: "plain play", onclick: () => this.#play(!this.playing) });
    this.range = h("input", { type: "range", min: "0", step: "1", oninput: () => this.#to(Number(this.range.value)), onchange: () => this.#settle() });
    this.range.addEventListener("keydown", (event) => event.key === " " && (event.preventDefault(), this.#play(!this.playing)));
    this.time = h("output", { className: "time" });
    this.newest = h("span", { className: "badge newest", textContent: "newest" });
    this.per = h("select", { onchange: () => this.#grain() }, ...grainsOf(view).map(({ per, text }) => h("option", { value: per, textContent: text })));
    const fit = h("button", { type: "button", className: "plain fit", textContent: "All places", onclick: () => this.drawing.fit() });
    this.scrub = h("div", { className: "scrub", role: "group", ariaLabel: `${title}: which window` },
      this.play, h("label", { className: "range" }, h("span", { className: "unseen", textContent: "Window" }), this.range), this.time, this.newest, h("label", {}, "per ", this.per), fit); // prettier-ignore
    this.bare = h("p", { className: "note bare", hidden: true });
    this.part(".figure").after(this.bare, this.scrub);
    this.part("details").addEventListener("toggle", () => this.answers && this.tabulate());
  }

  drawingOf() {
    this.part("canvas").remove();
    return new Places(this.part(".figure"), { onkey: (row) => this.page.pick(this.spec.view.by, row, false) });
  }

  get subtitle() {
    return [this.time.textContent, super.subtitle].filter(Boolean).join(" · ");
  }

  get at() {
    return this.page.state.at[this.spec.view.view];
  }

  // ---- asking ----

  async ask(state) {
    const { view } = this.spec;
    this.#forget(JSON.stringify([state.from, state.to, view.by.map((column) => state.keys[column]), state.per[view.view]]));
    for (let attempt = 0; ; attempt += 1) {
      const [list, extent] = await Promise.all([this.#list(state), this.#extent(state)]);
      this.extent = extent;
      const [rows, at] = await this.#rows(state, list);
      // two answers across the moment of a publication do not fit together: ask again
      if (rows.body.meta.as_of?.generation !== list.body.meta.as_of?.generation && attempt < 2) continue;
      const facts = { ...list, body: this.#facts(list.body.meta) };
      if (at === this.at) return [rows, facts];
      // somebody scrubbed meanwhile, or it plays: what is shown stays
      const held = this.held.get(this.windows[indexOf(this.windows, this.at)]?.window_start);
      if (held || attempt >= 2) return [held ? { etag: rows.etag, body: held } : rows, facts];
    }
  }

  /** What was asked for before is of no use when something else is asked for. */
  #forget(of) {
    if (this.of === of) return;
    Object.assign(this, { of, known: [], windows: [], extent: undefined, most: 0 });
    this.held.clear();
    this.drawing.forget();
  }

  async #list(state) {
    const { view } = this.spec;
    const since = this.known.length && !state.from?.startsWith("now-") && this.turn % ALL_EVERY ? this.known[0].window_start : null;
    const list = await ask(windowsUrl(view, state, since));
    this.turn += 1;
    this.known = since ? merged(this.known, since, list.body.data) : list.body.data;
    this.windows = windowsWithPlaces(view, this.known);
    const covered = JSON.stringify(list.body.meta.as_of);
    if (covered !== this.covered) this.held.clear();
    this.covered = covered;
    return list;
  }

  /** One row a key, asked once: it says how far the map reaches. Too much to be asked at once, it grows with what is shown. */
  async #extent(state) {
    if (this.extent) return this.extent;
    try {
      return (await ask(extentUrl(this.spec.view, state))).body.data;
    } catch (trouble) {
      if (trouble instanceof Trouble && trouble.status === 400) return [];
      throw trouble;
    }
  }

  async #rows(state, list) {
    const at = this.at;
    const shown = this.windows[indexOf(this.windows, at)] ?? this.known[0];
    if (!shown) return [{ etag: list.etag, body: { data: [], meta: list.body.meta } }, at];
    const rows = await ask(rowsUrl(this.spec.view, state, shown, shown));
    this.#grow(rows.body.data);
    this.held.set(shown.window_start, rows.body);
    return [rows, at];
  }

  #grow(rows) {
    this.most = Math.max(this.most, largestOf(this.spec.view.map, rows));
  }

  #facts(meta) {
    return { meta, windows: this.known, extent: this.extent, most: mostOf(this.spec.view, this.most), window_s: windowOf(this.spec.view, this.page.state) };
  }

  // ---- scrubbing ----

  #to(index) {
    const { state } = this.page;
    const window = this.windows[index];
    if (!window) return;
    if (index === this.windows.length - 1) delete state.at[this.spec.view.view]; // from here on the newest is followed
    else state.at[this.spec.view.view] = window.window_start;
    this.#timed();
    this.#show();
  }

  /** The window is chosen: the address says so, and the answer about it alone is asked for, with its receipt. */
  #settle() {
    this.page.note();
    this.page.again();
  }

  /** Show what is chosen, as soon as it is here; of what was chosen meanwhile only the last. */
  #show() {
    if (this.showing) {
      this.waiting = true;
      return this.showing;
    }
    const once = async () => {
      try {
        do {
          this.waiting = false;
          await this.#one();
        } while (this.waiting);
      } catch (trouble) {
        this.#play(false);
        this.fail(trouble);
      } finally {
        this.showing = undefined; // in the same breath as the last look at `waiting`
      }
    };
    this.showing = once();
    return this.showing;
  }

  async #one() {
    const index = indexOf(this.windows, this.at);
    const { of } = this;
    const start = this.windows[index].window_start;
    if (!this.held.has(start)) await this.#fetch(index);
    if (of === this.of && this.held.has(start)) this.take([this.held.get(start), this.#facts(this.answers?.[1].meta)]);
  }

  /** Ask for some windows at once, from one on while it plays, around it while somebody scrubs. */
  async #fetch(index) {
    const count = atOnce(this.extent?.length || 100);
    const first = this.playing ? index : Math.max(0, index - (count >> 1));
    const asked = this.windows.slice(first, first + count);
    const { body } = await ask(rowsUrl(this.spec.view, this.page.state, asked[0], asked.at(-1)));
    const found = new Map(asked.map(({ window_start }) => [window_start, []]));
    for (const row of body.data) found.get(row.window_start)?.push(row);
    const meta = { ...body.meta, receipt: null }; // it is about all of them together
    for (const [start, data] of found) this.held.set(start, { data, meta });
    this.#grow(body.data);
  }

  #play(on) {
    if (on === Boolean(this.playing)) return;
    clearTimeout(this.playing);
    this.playing = on ? 1 : undefined;
    if (on) this.#tick(indexOf(this.windows, this.at) === this.windows.length - 1);
    else this.page.note();
    this.#timed();
  }

  async #tick(again) {
    const began = performance.now();
    const next = again ? 0 : indexOf(this.windows, this.at) + 1;
    if (next < this.windows.length) this.#to(next);
    await this.showing;
    if (!this.playing) return;
    if (next >= this.windows.length - 1) {
      this.#play(false);
      return;
    }
    const step_ms = matchMedia("(prefers-reduced-motion: reduce)").matches ? STILL_STEP_MS : STEP_MS;
    this.playing = setTimeout(() => this.#tick(false), Math.max(0, step_ms - (performance.now() - began)));
  }

  #grain() {
    this.#play(false);
    const { [this.spec.view.view]: _, ...others } = this.page.state.per;
    this.page.go({ per: this.per.value ? { ...others, [this.spec.view.view]: this.per.value } : others });
  }

  // ---- drawing ----

  draw() {
    super.draw();
    if (!this.answers?.[0].data.length) return;
    const bare = !this.windows.length;
    this.bare.hidden = !bare;
    this.bare.textContent = "No row of these windows has a place, so nothing is on the map: the numbers are in the table.";
    Object.assign(this.root.dataset, { places: bare ? "none" : "some", window: this.answers[0].data[0].window_start });
    this.#timed();
  }

  /** While it is closed the table is not filled: a thousand lines at every step would be seen by nobody. */
  tabulate() {
    if (this.part("details").open) super.tabulate();
  }

  /** The controls say what is shown. */
  #timed() {
    const { view } = this.spec;
    const index = indexOf(this.windows, this.at);
    const last = this.windows.length - 1;
    this.play.textContent = this.playing ? "Pause" : "Play";
    this.play.ariaLabel = `${this.spec.title}: ${this.playing ? "pause" : "play"}`;
    this.play.disabled = this.range.disabled = last < 1;
    this.range.max = String(Math.max(0, last));
    this.range.value = String(Math.max(0, index));
    this.per.value = this.page.state.per[view.view] ?? "";
    this.newest.hidden = index !== last || last < 0;
    this.newest.textContent = this.known[0]?.window_start === this.windows.at(-1)?.window_start ? "newest" : "newest with a place";
    const shown = this.windows[index];
    this.time.textContent = shown ? spanIn(Intl.DateTimeFormat().resolvedOptions().timeZone, windowOf(view, this.page.state), shown) : "";
    this.range.setAttribute("aria-valuetext", `${this.time.textContent}, ${index + 1} of ${last + 1}${index === last ? ", the newest" : ""}`);
  }

  remove() {
    this.#play(false);
    super.remove();
  }
}
