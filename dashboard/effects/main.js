// The page as a whole: the address is the state; what the state says is shown and refreshed at its pace.
import { linkParts, numberText, spanText } from "../pure/text.js";
import { rateOf, waitOf } from "../pure/pace.js";
import { format, parse } from "../pure/url.js";
import { Trouble, ask } from "./ask.js";
import { DatasetPage } from "./dataset.js";
import { byId, h } from "./dom.js";
import { Overview } from "./overview.js";
import { Pipeline } from "./pipeline.js";
import { Toolbar } from "./toolbar.js";

const MOST_SAMPLES = 240;

class App {
  constructor() {
    this.state = parse(location.search);
    this.catalogue = [];
    this.status = new Map();
    this.failures = 0;
    this.updated_ms = null;
    this.sampled = new Map();
    this.toolbar = new Toolbar(this);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.refresh()));
    document.addEventListener("click", (event) => this.#follow(event));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.state.panel && this.go({ panel: null }));
    window.addEventListener("popstate", () => this.#to(parse(location.search)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#theme());
    setInterval(() => this.#tell(), 1000);
    this.#to(this.state);
  }

  // ---- state ----

  go(patch) {
    const state = { ...this.state, ...patch };
    if (format(state) !== format(this.state)) history.pushState(null, "", format(state));
    this.#to(state);
  }

  note() {
    history.replaceState(null, "", format(this.state));
  }

  #follow(event) {
    const link = event.target.closest?.("a[href^='/?'], a[href='/']");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    this.#to(parse(location.search));
    byId("main").focus();
    scrollTo(0, 0);
  }

  #to(state) {
    this.state = state;
    this.#theme();
    this.toolbar.show(state, this.catalogue);
    this.refresh();
  }

  #theme() {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const wanted = this.state.theme === "auto" ? system : this.state.theme;
    if (document.documentElement.dataset.theme === wanted) return;
    document.documentElement.dataset.theme = wanted;
    this.page?.redraw?.();
  }

  // ---- what pages take ----

  samples(dataset) {
    return this.sampled.get(dataset) ?? [];
  }

  /** Events per second that arrive in the topic and that are counted, as this page saw them. */
  rates(dataset) {
    const of = (name) => rateOf(this.samples(dataset).map((s) => ({ at_ms: s.at_ms, value: s[name] })));
    return { arriving: of("ends"), counting: of("counted") };
  }

  // ---- refreshing ----

  async refresh() {
    clearTimeout(this.timer);
    this.paused = false;
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    this.again = false;
    let trouble = null;
    try {
      await this.#all();
    } catch (error) {
      trouble = error instanceof Trouble ? error : new Trouble({ detail: `a fault of this page: ${error.message}` });
      if (!(error instanceof Trouble)) console.error(error);
    }
    this.busy = false;
    this.#settle(trouble);
  }

  async #all() {
    try {
      const [datasets, status] = await Promise.all([ask("/api/v1/datasets"), ask("/api/v1/status")]);
      this.#list(datasets.body.data);
      this.#sample(status.body.datasets);
    } catch (trouble) {
      this.page?.fail(trouble);
      throw trouble;
    }
    await this.page?.refresh({ catalogue: this.catalogue, status: this.status });
  }

  #settle(trouble) {
    this.trouble = trouble;
    this.failures = trouble ? this.failures + 1 : 0;
    if (!trouble) this.updated_ms = Date.now();
    if (this.again) {
      this.refresh();
      return;
    }
    const wait_ms = waitOf(this.state.refresh, this.failures, trouble?.retryAfter_s);
    this.due_ms = wait_ms === null ? null : Date.now() + wait_ms;
    if (wait_ms !== null && !document.hidden) this.timer = setTimeout(() => this.refresh(), wait_ms);
    this.#tell();
  }

  #pause() {
    clearTimeout(this.timer);
    this.paused = true;
    this.#tell();
  }

  #list(catalogue) {
    const text = JSON.stringify(catalogue);
    const other = this.known !== text;
    [this.known, this.catalogue] = [text, catalogue];
    this.#open(other);
    if (!other) return;
    this.toolbar.show(this.state, catalogue);
    const sources = catalogue.filter((d) => d.attribution).map((d) => h("p", {}, `${d.title}: `, ...linkParts(d.attribution).map((p) => (p.href ? h("a", { href: p.href, rel: "noreferrer", textContent: p.text }) : p.text))));
    byId("sources").replaceChildren(...sources);
  }

  /** Put the page in place that the state asks for. */
  #open(other) {
    const { page, dataset } = this.state;
    const wanted = `${page} ${dataset ?? ""}`;
    if (this.page && this.opened === wanted && !(other && page === "dataset")) return;
    this.page?.remove();
    const described = this.catalogue.find((d) => d.dataset === dataset);
    const unknown = page === "dataset" && !described;
    this.page = page === "pipeline" ? new Pipeline(this) : page === "overview" ? new Overview(this) : described ? new DatasetPage(described, this) : null;
    this.opened = wanted;
    byId("notice").hidden = !unknown && this.catalogue.length > 0;
    byId("notice").textContent = unknown ? `There is no dataset “${dataset}”; there is ${this.catalogue.map((d) => d.dataset).join(", ") || "none"}.` : "No dataset is declared: put a file under datasets/ and start the API again.";
    document.title = `${described?.title ?? { overview: "Datasets", pipeline: "Pipeline" }[page] ?? "?"} · Braid`;
    if (this.page) byId("main").append(this.page.root);
  }

  #sample(datasets) {
    const at_ms = Date.now();
    this.status = new Map(datasets.map((s) => [s.dataset, s]));
    for (const s of datasets) {
      const ends = s.partitions.every((p) => p.end !== null) ? s.partitions.reduce((sum, p) => sum + p.end, 0) : null;
      if (ends === null || !s.counts) continue;
      const held = [...this.samples(s.dataset), { at_ms, ends, counted: s.counts.good }];
      this.sampled.set(s.dataset, held.slice(-MOST_SAMPLES));
    }
  }

  // ---- as of, and how old ----

  #tell() {
    const ago_s = this.updated_ms === null ? null : Math.round((Date.now() - this.updated_ms) / 1000);
    const [state, text] = this.#said(ago_s);
    byId("live").dataset.state = state;
    byId("live-text").textContent = text;
    const shown = [...this.status.values()].filter((s) => s.serving && (this.state.page !== "dataset" || s.dataset === this.state.dataset));
    const age_s = shown.length && ago_s !== null ? Math.max(...shown.map((s) => s.freshness_s ?? 0)) + (Date.now() - this.updated_ms) / 1000 : null;
    const as_of = this.state.page === "dataset" && shown.length ? `as of seq ${numberText(shown[0].serving.as_of.seq)}, ` : "";
    byId("as-of").textContent = age_s === null ? "" : `${as_of}${spanText(age_s)} old`;
  }

  #said(ago_s) {
    if (this.trouble) {
      const left_s = Math.max(0, Math.ceil((this.due_ms - Date.now()) / 1000));
      return ["error", `${this.trouble.message} · trying again in ${left_s} s`];
    }
    if (this.paused) return ["loading", "Paused while the page is hidden"];
    if (ago_s === null) return ["loading", "Connecting …"];
    const pace = this.state.refresh ? `every ${this.state.refresh} s` : "refresh is off";
    return ["ready", `Updated ${spanText(ago_s).replace(".0", "")} ago · ${pace}`];
  }
}

new App();

