// The pipeline page: per dataset the way from topic to answer, what is red and what to do, and the accounts.
import { accountOf } from "../pure/account.js";
import { generationsOf, phasesText, stagesOf, worst } from "../pure/flow.js";
import { numberText, rateText } from "../pure/text.js";
import { h, stamp } from "./dom.js";
import { spark } from "./tiles.js";

const STATES = { ok: "✓ works", warn: "! look at it", bad: "✕ broken" };

export class Pipeline {
  constructor(app) {
    this.app = app;
    this.root = h("section", { className: "pipeline" }, h("h2", { textContent: "Pipeline" }), h("p", { className: "about", textContent: "The way of an event from topic to answer." }));
    this.lines = new Map();
  }

  async refresh({ catalogue, status }) {
    for (const described of catalogue) {
      const found = status.get(described.dataset);
      if (found) this.#line(described).show(found);
    }
  }

  #line(described) {
    if (!this.lines.has(described.dataset)) {
      this.lines.set(described.dataset, new Line(described, this.app));
      this.root.append(this.lines.get(described.dataset).root);
    }
    return this.lines.get(described.dataset);
  }

  fail(trouble) {
    for (const line of this.lines.values()) line.fail(trouble);
  }

  remove() {
    this.root.remove();
  }
}

class Line {
  constructor(described, app) {
    Object.assign(this, { described, app, root: stamp("line") });
    this.part = (selector) => this.root.querySelector(selector);
    this.root.dataset.dataset = described.dataset;
    this.part("h3").textContent = described.title;
    // regions of the same kind are told apart by their dataset
    for (const region of this.root.querySelectorAll("[role=region]")) region.setAttribute("aria-label", `${region.getAttribute("aria-label")}: ${described.title}`);
  }

  show(status) {
    const stages = stagesOf({ status, rates: this.app.rates(status.dataset), now_ms: Date.now() });
    const state = worst(stages.map((s) => s.state));
    this.root.dataset.state = state;
    this.part(".pill").textContent = STATES[state];
    this.part(".flow").replaceChildren(...stages.map(box));
    const wrong = stages.filter((s) => s.state !== "ok");
    this.part(".wrong").hidden = !wrong.length;
    this.part(".wrong").replaceChildren(...wrong.map(trouble));
    this.#rates(status);
    this.#account(accountOf(status));
    this.#extras(status);
  }

  #rates(status) {
    const samples = this.app.samples(status.dataset);
    const points = samples.slice(1).map((s, i) => [s.at_ms, ((s.counted - samples[i].counted) * 1000) / (s.at_ms - samples[i].at_ms || 1)]);
    this.part(".rate").hidden = points.length < 3;
    this.part(".rate").replaceChildren(spark(points, { floor: 0 }), h("figcaption", { textContent: `events counted per second since this page looks, now ${rateText(this.app.rates(status.dataset).counting)}` }));
  }

  #account(account) {
    this.part(".sum").textContent = account.text;
    this.part(".sum").dataset.adds = String(account.adds);
    fill(this.part(".account"), account.columns, account.rows, account.total, "Conservation: every offset covered is counted once, a copy, a dead letter, or holds no record");
  }

  #extras(status) {
    this.part(".phases").textContent = phasesText(status.micro_batch);
    const runs = generationsOf(status);
    this.part(".generations").hidden = !runs.length;
    fill(this.part(".generations table"), ["generation", "state", "cut", "published (UTC)", "audit"], runs, null, "Generations and their audits, the newest first");
    const reasons = status.dead_letters?.reasons ?? [];
    this.part(".dead").hidden = !reasons.length;
    fill(this.part(".dead table"), ["reason", "records", "newest at", "sample"], reasons.map((r) => [r.reason, r.count, r.place, r.sample]), null,
      `Dead letters by reason, of the newest ${numberText(status.dead_letters?.of)}; all of them: ${this.described.commands.dead ?? "braid dead list " + status.dataset}`); // prettier-ignore
  }

  fail(trouble_) {
    this.root.dataset.state = "bad";
    this.part(".pill").textContent = "✕ not refreshed";
    this.part(".wrong").hidden = false;
    this.part(".wrong").replaceChildren(trouble({ title: "API", state: "bad", what: `${trouble_.message}. What is shown is as it was before.`, next: trouble_.next }));
  }
}

const box = (stage) =>
  h("li", { className: "stage", data: { stage: stage.name, state: stage.state } },
    h("strong", {}, h("span", { className: "dot", "aria-hidden": "true" }), stage.title, h("span", { className: "unseen", textContent: `: ${STATES[stage.state]}` })),
    h("dl", {}, ...stage.facts.flatMap(([name, value]) => [h("dt", { textContent: name }), h("dd", { textContent: value })])),
  ); // prettier-ignore

const trouble = (stage) =>
  h("li", { data: { state: stage.state } }, h("strong", { textContent: `${stage.title}: ` }), stage.what, ...(stage.next && !stage.what.includes(stage.next) ? [" Do: ", h("code", { textContent: stage.next })] : []));

function fill(table, columns, rows, total, caption) {
  const text = (value) => (typeof value === "number" ? numberText(value) : (value ?? "–"));
  const cells = (row) => row.map((value, i) => h("td", { className: typeof value === "number" ? "number" : "", textContent: text(value), data: { column: columns[i] } }));
  const numeric = (i) => typeof (total ?? rows[0] ?? [])[i] === "number";
  table.replaceChildren(
    h("caption", { textContent: caption }),
    h("thead", {}, h("tr", {}, ...columns.map((c, i) => h("th", { scope: "col", textContent: c, className: numeric(i) ? "number" : "" })))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...cells(row)))),
    ...(total ? [h("tfoot", {}, h("tr", {}, ...cells(total)))] : []),
  );
}
