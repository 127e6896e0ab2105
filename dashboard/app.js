// Fetch, timers, DOM. What is drawn, and from which numbers, is decided in charts.js.
import * as charts from "./charts.js";

const EVERY_MS = 5000;
const LONGEST_MS = 40000;
const TIMEOUT_MS = 10000;
const ROWS = 3000; // of one windowed view: the newest
const ALERTS = 25;

const byId = (id) => document.getElementById(id);
const element = (tag, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};
const stamp = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** A problem of the API, or of reaching it. */
class Trouble extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title ?? "no answer");
    this.next = problem.next;
  }
}

/** Ask the API; the browser keeps answers by ETag, so an unchanged one costs no body. */
async function ask(url) {
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new Trouble({ detail: error.name === "TimeoutError" ? `no answer within ${TIMEOUT_MS / 1000} s` : "the API cannot be reached", next: "braid status" });
  }
  const body = await response.json().catch(() => ({ detail: `HTTP ${response.status}` }));
  if (!response.ok) throw new Trouble(body);
  return { body, etag: response.headers.get("ETag"), freshness_s: Number(response.headers.get("X-Braid-Freshness-S")) };
}

/** The colours of the moment, from the style sheet. */
function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { ink: of("ink"), soft: of("soft"), surface: of("surface"), line: of("soft") + "55", grid: of("grid"), series: of("series").split(/\s+/) };
}

function fillTable(table, { columns, rows }, caption) {
  const head = element("tr", {}, ...columns.map((c) => element("th", { scope: "col", textContent: c.title, className: ["number", "z"].includes(c.kind) ? "number" : "" })));
  const lines = rows.map((cells) =>
    element("tr", {}, ...cells.map((c) => {
      const shown = c.number && c.value !== null && c.value !== undefined ? element("data", { value: String(c.value), textContent: c.text }) : c.text;
      return element("td", { className: [c.number ? "number" : "", c.mark ?? ""].join(" ").trim() }, shown);
    })),
  );
  table.replaceChildren(element("caption", { textContent: caption }), element("thead", {}, head), element("tbody", {}, ...lines));
}

function withCommand(parent, text, command) {
  parent.replaceChildren(text, ...(command && !text.includes(command) ? [" ", element("code", { textContent: command })] : []));
  parent.hidden = false;
}

/** What every panel does: ask, draw, and say what is wrong while keeping what it has. */
class Panel {
  constructor(title, url, kind, name) {
    this.url = url;
    this.root = stamp("panel");
    this.root.dataset.kind = kind;
    this.root.dataset.name = name;
    this.part = (selector) => this.root.querySelector(selector);
    this.part("h3").textContent = title;
    this.part(".scroll").ariaLabel = `${title}: numbers`;
  }

  async refresh() {
    try {
      const answer = await ask(this.url);
      this.part(".stale").hidden = true;
      if (answer.etag !== this.etag || this.root.dataset.state !== "ready") this.take(answer);
      this.etag = answer.etag;
    } catch (trouble) {
      this.fail(trouble);
      throw trouble;
    }
  }

  take({ body }) {
    const rows = body.data;
    this.rows = rows;
    this.root.dataset.state = rows.length ? "ready" : "empty";
    this.part("details").hidden = !rows.length;
    this.part(".note").hidden = true;
    this.part("footer").textContent = this.foot(body.meta);
    if (rows.length) this.draw();
    else withCommand(this.part(".note"), this.empty[0], this.empty[1]);
  }

  fail(trouble) {
    if (!(trouble instanceof Trouble)) console.error(trouble);
    const kept = this.rows !== undefined;
    this.root.dataset.state = kept ? "stale" : "error";
    this.part(".stale").hidden = !kept;
    this.part(".stale").textContent = "not refreshed";
    withCommand(this.part(".note"), kept ? `Shown as it was before: ${trouble.message}.` : `${trouble.message}.`, trouble.next);
  }
}

class ViewPanel extends Panel {
  constructor(dataset, view) {
    const query = view.window_s ? `?order=desc&limit=${ROWS}` : "";
    super(view.title, view.url + query, view.window_s ? "series" : "spread", view.view);
    this.view = view;
    this.measure = view.measures[0].measure;
    this.empty = ["No events yet. Send some:", dataset.commands.produce];
    this.root.classList.toggle("wide", Boolean(view.window_s));
    this.choices();
  }

  choices() {
    const names = this.view.measures.map((m) => m.measure);
    if (names.length < 2) return;
    const group = this.part(".choices");
    group.hidden = false;
    group.ariaLabel = "Measure";
    group.append(...names.map((name) => element("button", {
      type: "button", textContent: name, ariaPressed: String(name === this.measure),
      onclick: () => {
        this.measure = name;
        for (const button of group.children) button.ariaPressed = String(button.textContent === name);
        if (this.rows?.length) this.draw();
      },
    })));
  }

  draw() {
    const { view, measure } = this;
    const rows = view.window_s ? [...this.rows].reverse() : this.rows;
    fillTable(this.part("table"), charts.viewTable(view, rows), `${view.title}${view.window_s ? ", newest window first" : ""}`);
    this.chart(charts.chartOf({ view, rows, measure, theme: theme() }));
    this.part("canvas").ariaLabel = `${view.title}: ${charts.measureTitle(view, measure)} by ${view.by.join(" and ")}; the numbers are in the table below`;
  }

  chart(config) {
    const canvas = this.part("canvas");
    if (typeof Chart === "undefined") {
      this.part(".figure").hidden = true;
      this.part("details").open = true;
      withCommand(this.part(".note"), "The chart library is not in place, so only the numbers are shown. Fetch it:", "braid up");
      return;
    }
    canvas.hidden = false;
    if (!this.drawn) {
      this.drawn = new Chart(canvas, config);
      return;
    }
    const off = this.drawn.data.datasets.map((d, i) => (this.drawn.isDatasetVisible(i) ? null : d.label));
    Object.assign(this.drawn, { data: config.data, options: config.options });
    config.data.datasets.forEach((d, i) => this.drawn.setDatasetVisibility(i, !off.includes(d.label)));
    this.drawn.update("none");
  }

  foot(meta) {
    const { left } = charts.drawnKeys(this.view, this.rows);
    const parts = [`${meta.rows.toLocaleString("en-GB")} rows`];
    if (meta.rows < meta.of_rows) parts.push(`the newest of ${meta.of_rows.toLocaleString("en-GB")}`);
    if (left) parts.push(`${left} smaller keys are in the table only`);
    parts.push(`receipt ${meta.digest.slice(0, 12)}`);
    return parts.join(" · ");
  }
}

class AlertPanel extends Panel {
  constructor(dataset, rule) {
    super(rule.title, `${rule.url}&limit=${ALERTS}`, "alerts", rule.alert);
    this.rule = rule;
    this.empty = [`None so far: nothing lay more than ${rule.beyond}σ from the mean of its ${rule.by.join(", ")}, judged once ${rule.min_count} events are known.`];
    this.root.classList.add("wide");
    this.part("details").open = true;
    this.part("summary").textContent = "Newest first";
  }

  draw() {
    fillTable(this.part("table"), charts.alertTable(this.rule, this.rows), `beyond ${this.rule.beyond} standard deviations of the history at that moment`);
  }

  foot(meta) {
    return `the newest ${meta.rows.toLocaleString("en-GB")} of ${meta.of_rows.toLocaleString("en-GB")}`;
  }
}

/** One dataset: what its answers cover, and its panels. */
class Dataset {
  constructor(described) {
    this.described = described;
    this.root = stamp("dataset");
    this.root.id = `dataset-${described.dataset}`;
    this.part = (selector) => this.root.querySelector(selector);
    this.part("h2").textContent = described.title;
    this.part(".about").textContent = described.description;
    const views = [...described.views].sort((a, b) => Boolean(b.window_s) - Boolean(a.window_s));
    this.panels = [...views.map((v) => new ViewPanel(described, v)), ...described.alerts.map((a) => new AlertPanel(described, a))];
    this.part(".panels").append(...this.panels.map((p) => p.root));
  }

  /** Show what the answers cover; return whether there are any to ask for. */
  cover(status) {
    const meta = status.serving;
    const state = !meta ? "waiting" : meta.complete ? "complete" : "incomplete";
    this.part(".covers").dataset.state = state;
    this.part(".panels").hidden = !meta;
    this.part(".pill").textContent = { complete: "✓ complete", incomplete: "! incomplete", waiting: "… nothing yet" }[state];
    if (meta) this.part(".sentence").textContent = charts.coverageText(meta);
    else withCommand(this.part(".sentence"), `${status.reason}.`, status.next);
    const reasons = meta ? meta.missing.map((m) => `${m.what}: ${m.reason}`) : [];
    this.part(".missing").hidden = !reasons.length;
    this.part(".missing").replaceChildren(...reasons.map((reason) => element("li", { textContent: reason })));
    this.part(".tiles").replaceChildren(...this.tiles(status));
    return Boolean(meta);
  }

  tiles(status) {
    const { head, generation, counts, lag, serving } = status;
    if (!head) return [];
    const behind = generation.seqs_behind_head;
    const next = generation.next_due ? ` · next ${charts.timeText(generation.next_due).slice(11, 16)}` : "";
    return [
      tile("Events counted", counts.good, `${charts.numberText(counts.copies)} copies left out`),
      tile("Generation", generation.generation, generation.published_at ? `published ${charts.timeText(generation.published_at).slice(0, 16)}${next}` : `run ${this.described.commands.batch}`),
      tile("Head", serving?.as_of.seq ?? head.seq, `seq · ${charts.numberText(behind)} past the cut`),
      tile("Freshness", charts.spanText(status.freshness_s), "head was confirmed so long ago"),
      tile("Waiting in Kafka", lag.events, lag.events ? `for ${charts.spanText(lag.seconds)}` : "nothing"),
      tile("Alerts", counts.alerts, "since the beginning"),
      tile("Dead letters", counts.dead, counts.absent ? `${charts.numberText(counts.absent)} offsets absent` : "set aside with a reason"),
    ];
  }

  remove() {
    for (const panel of this.panels) panel.drawn?.destroy();
    this.root.remove();
  }

  lost(trouble) {
    this.part(".covers").dataset.state = "error";
    this.part(".pill").textContent = "✕ not refreshed";
    this.part(".sentence").textContent = trouble.message;
  }
}

function tile(title, value, small) {
  const shown = typeof value === "number" ? element("data", { value: String(value), textContent: charts.numberText(value) }) : String(value ?? "–");
  return element("div", {}, element("dt", { textContent: title }), element("dd", {}, shown, element("small", { textContent: small })));
}

/** The page: refreshes every 5 s, slower while it fails, not at all while nobody looks. */
class Page {
  constructor() {
    this.datasets = [];
    this.wait_ms = EVERY_MS;
    this.updated_ms = null;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.refresh()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    setInterval(() => this.tell(), 1000);
  }

  pause() {
    clearTimeout(this.timer);
    this.paused = true;
  }

  async refresh() {
    clearTimeout(this.timer);
    if (this.busy) return;
    this.busy = true;
    this.paused = false;
    try {
      await this.list();
      const { body } = await ask("/api/v1/status");
      const status = Object.fromEntries(body.datasets.map((s) => [s.dataset, s]));
      const answering = this.datasets.filter((d) => d.cover(status[d.described.dataset]));
      const done = await Promise.allSettled(answering.flatMap((d) => d.panels.map((p) => p.refresh())));
      this.trouble = done.find((d) => d.status === "rejected")?.reason ?? null;
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) console.error(trouble);
      this.trouble = trouble;
      for (const dataset of this.datasets) {
        dataset.lost(trouble);
        for (const panel of dataset.panels) panel.fail(trouble);
      }
    }
    this.busy = false;
    this.wait_ms = this.trouble ? Math.min(this.wait_ms * 2, LONGEST_MS) : EVERY_MS;
    if (!this.trouble) this.updated_ms = Date.now();
    this.due_ms = Date.now() + this.wait_ms;
    this.tell();
    if (!document.hidden) this.timer = setTimeout(() => this.refresh(), this.wait_ms);
  }

  async list() {
    const { body, etag } = await ask("/api/v1/datasets");
    const text = JSON.stringify(body.data);
    if (this.known === text) return;
    this.known = text;
    for (const dataset of this.datasets) dataset.remove();
    this.datasets = body.data.map((described) => new Dataset(described));
    byId("datasets").append(...this.datasets.map((d) => d.root));
    const links = this.datasets.map((d) => element("a", { href: `#${d.root.id}`, textContent: d.described.title }));
    byId("nav").replaceChildren(...(links.length > 1 ? links : []));
    byId("notice").hidden = this.datasets.length > 0;
    byId("notice").textContent = "No dataset is declared: put a file under datasets/ and start the API again.";
  }

  redraw() {
    for (const dataset of this.datasets) for (const panel of dataset.panels) if (panel.rows?.length) panel.draw();
  }

  tell() {
    const ago = this.updated_ms === null ? null : charts.spanText(Math.round((Date.now() - this.updated_ms) / 1000)).replace(".0", "");
    const [state, text] = this.trouble
      ? ["error", `${this.trouble.message} · trying again in ${Math.max(0, Math.ceil((this.due_ms - Date.now()) / 1000))} s`]
      : this.paused
        ? ["loading", "Paused while the page is hidden"]
        : ago === null
          ? ["loading", "Connecting …"]
          : ["ready", `Updated ${ago} ago · every ${EVERY_MS / 1000} s`];
    byId("live").dataset.state = state;
    byId("live-text").textContent = text;
  }
}

new Page().refresh();
