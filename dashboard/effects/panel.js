// A panel: asks, draws, says what is wrong while it keeps what it has, and lets its numbers be taken away.
import { shownMeasure } from "../pure/columns.js";
import { keyOf } from "../pure/keys.js";
import { KINDS, emptyOf, measuresOf } from "../pure/kinds.js";
import { csvOf } from "../pure/tables.js";
import { elsewhere } from "../pure/url.js";
import { acknowledgeButton } from "./acknowledge.js";
import { Trouble, ask } from "./ask.js";
import { Drawing, colors } from "./chart.js";
import { fillTable, h, save, say, stamp } from "./dom.js";

const TABLES_AT_ONCE = 300; // lines; all of them are in the CSV

export class Panel {
  /** page: the dataset's page, for its state, go(patch), again(), known keys and description. */
  constructor(spec, page) {
    Object.assign(this, { spec, page, kind: KINDS[spec.kind] });
    this.root = stamp("panel");
    Object.assign(this.root.dataset, { kind: spec.kind, name: spec.name });
    this.root.classList.toggle("wide", spec.wide);
    this.part = (selector) => this.root.querySelector(selector);
    const title = this.part("h3");
    title.textContent = spec.title;
    title.id = `title-${spec.name}`;
    this.root.setAttribute("aria-labelledby", title.id);
    this.part("details").open = spec.kind === "alerts" || !this.drawn; // what is said of each is read, not only where it lies
    this.part(".figure").hidden = this.part(".png").hidden = !this.drawn;
    this.part(".scroll").ariaLabel = `${spec.title}: numbers`;
    this.drawing = this.drawingOf();
    this.#buttons();
  }

  /** Whether there is a picture; a list is nothing but its lines. */
  get drawn() {
    return this.spec.kind !== "list";
  }

  /** What stands under the title of a saved picture. */
  get subtitle() {
    return this.part("footer").textContent;
  }

  /** What draws: show(config), label(text), available(), picture(title, subtitle), destroy(). */
  drawingOf() {
    const { page, spec } = this;
    return new Drawing(this.part("canvas"), {
      onrange: (min, max) => page.range(min, max),
      onkey: (row, more) => page.pick((spec.view ?? spec.rule).by, row, more),
    });
  }

  #buttons() {
    const { name, title } = this.spec;
    const on = (selector, label, click) => Object.assign(this.part(selector), { ariaLabel: `${title}: ${label}`, onclick: click });
    on(".csv", "save the numbers as CSV", () => save(`${name}.csv`, new Blob([csvOf(this.#tabled())], { type: "text/csv" })));
    on(".png", "save the picture as PNG", async () => save(`${name}.png`, await this.drawing.picture(title, this.subtitle)));
    on(".open", "show alone", () => this.page.go({ panel: this.page.state.panel === name ? null : name }));
    const measures = measuresOf(this.spec);
    const group = this.part(".choices");
    group.hidden = measures.length < 2;
    group.ariaLabel = `${title}: measure`;
    const choose = (measure) => this.page.go({ measures: { ...this.page.state.measures, [this.spec.view.view]: measure } });
    group.append(...measures.map((measure) => h("button", { type: "button", textContent: measure, onclick: () => choose(measure) })));
  }

  /** Ask; draw when the answers or the way they are looked at changed. */
  async refresh() {
    const { state } = this.page;
    try {
      const answers = await this.ask(state);
      if (state !== this.page.state) return; // somebody chose another view meanwhile: it is asked anew
      this.part(".stale").hidden = true;
      const signature = JSON.stringify([answers.map((a) => a.etag), state, document.documentElement.dataset.theme]);
      // a relative range moves by itself
      if (signature !== this.signature || state.from?.startsWith("now-") || this.root.dataset.state !== "ready") this.take(answers.map((a) => a.body));
      this.signature = signature;
    } catch (trouble) {
      this.fail(trouble);
      throw trouble;
    }
  }

  /** [{body, etag}], the rows first. */
  async ask(state) {
    const urls = this.kind.urls(this.spec, state, this.page.described.views);
    for (let attempt = 0; ; attempt += 1) {
      const answers = await Promise.all(urls.map((url) => ask(url)));
      const generations = new Set(answers.map((a) => a.body.meta.as_of?.generation));
      // two answers across the moment of a publication do not fit together: ask again
      if (generations.size <= 1 || attempt === 2) return answers;
    }
  }

  take(answers) {
    this.answers = answers;
    const rows = answers[0].data;
    this.root.dataset.state = rows.length ? "ready" : "empty";
    this.part("details").hidden = !rows.length;
    for (const button of this.root.querySelectorAll(".csv, .png")) button.disabled = !rows.length;
    this.part(".note").hidden = true;
    const incomplete = answers.find((a) => a.meta.complete === false);
    this.part(".partial").hidden = !incomplete;
    this.part(".partial").title = incomplete ? incomplete.meta.missing.map((m) => m.reason).join("\n") : "";
    if (rows.length) this.draw();
    else this.#nothing();
  }

  #nothing() {
    this.part("footer").textContent = "";
    const { state, described, counted } = this.page;
    const empty = emptyOf(this.spec, described, counted, state);
    const clear = empty.clear && h("button", { type: "button", className: "plain", textContent: "Show everything", onclick: () => this.page.go({ ...elsewhere(state, "dataset", state.dataset), panel: state.panel }) });
    say(this.part(".note"), empty.text, empty.command, ...(clear ? [" ", clear] : []));
  }

  draw() {
    if (!this.answers?.[0].data.length) return;
    const { spec, kind, answers } = this;
    const { state } = this.page;
    // a map has colours of its own, and more keys than series
    if (this.drawn && spec.kind !== "map") this.page.know(spec.view ?? spec.rule, answers[0].data);
    const asked = this.#asked();
    this.tabulate();
    this.#check(answers[0].meta.receipt);
    this.part("footer").textContent = kind.foot(spec, answers, asked).filter(Boolean).join(" · ");
    for (const button of this.part(".choices").children) button.ariaPressed = String(button.textContent === shownMeasure(spec.view, state));
    if (!this.drawn) return;
    this.drawing.label(`${spec.title}: ${kind.label(spec, answers, state)}; the numbers are in the table below`);
    this.#chart(() => kind.chart(spec, answers, asked));
  }

  #asked() {
    const { state, described } = this.page;
    return { state, views: described.views, theme: colors(), known: this.page.known(this.spec.view ?? this.spec.rule), now_ms: Date.now() };
  }

  #tabled() {
    return this.kind.table(this.spec, this.answers, this.#asked());
  }

  /** Fill the table with the first of its rows. */
  tabulate() {
    const table = this.#tabled();
    const shown = { ...table, rows: table.rows.slice(0, TABLES_AT_ONCE) };
    fillTable(this.part("table"), shown, this.kind.caption(this.spec) + (shown.rows.length < table.rows.length ? `; the first ${TABLES_AT_ONCE} rows, all are in the CSV` : ""), this.#last());
  }

  /** The command that recomputes what is shown from the raw records. */
  #check(receipt) {
    const command = `braid verify ${receipt}`;
    this.part(".check").hidden = !receipt;
    this.part(".check code").textContent = command;
    const copy = this.part(".copy");
    copy.ariaLabel = `${this.spec.title}: copy the command that checks these rows`;
    copy.onclick = async () => {
      await navigator.clipboard.writeText(command);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 2000);
    };
  }

  /** What can be done about a line: alerts can be acknowledged, where the API keeps such words. */
  #last() {
    const rows = this.answers[0].data;
    if (this.spec.kind !== "alerts" || !rows[0].acknowledgement) return undefined;
    return (i) => acknowledgeButton(rows[i], keyOf(this.spec.rule.by, rows[i]), () => this.page.again());
  }

  #chart(config) {
    if (!this.drawing.available()) {
      this.part(".figure").hidden = true;
      this.part(".png").hidden = true;
      this.part("details").open = true;
      say(this.part(".note"), "The chart library is not in place, so only the numbers are shown. Fetch it:", "braid up");
      return;
    }
    this.drawing.show(config());
  }

  fail(trouble) {
    if (!(trouble instanceof Trouble)) console.error(trouble);
    const kept = this.answers !== undefined;
    this.root.dataset.state = kept ? "stale" : "error";
    this.part(".stale").hidden = !kept;
    say(this.part(".note"), kept ? `Shown as it was before: ${trouble.message}.` : `${trouble.message}.`, trouble.next);
  }

  remove() {
    this.drawing.destroy();
    this.root.remove();
  }
}

