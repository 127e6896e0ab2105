// The first page: every dataset on a card, and whether it may be trusted.
import { drawable } from "../pure/columns.js";
import { VERDICTS, coverageText, verdictOf } from "../pure/cover.js";
import { eventsPerWindow } from "../pure/headline.js";
import { countText, numberText, rateText, spanText } from "../pure/text.js";
import { apiUrl, elsewhere, format } from "../pure/url.js";
import { Trouble, ask } from "./ask.js";
import { h, say, stamp } from "./dom.js";
import { spark, tile } from "./tiles.js";

const NEWEST = { group_by: "", order: "desc", limit: 90 }; // one row a window, merged over all keys

export class Overview {
  constructor(app) {
    this.app = app;
    this.root = h("section", { className: "overview" }, h("h2", { textContent: "Datasets" }), h("div", { className: "cards" }));
    this.cards = new Map();
  }

  async refresh({ catalogue, status }) {
    const gone = [...this.cards.keys()].filter((name) => !catalogue.some((d) => d.dataset === name));
    for (const name of gone) {
      this.cards.get(name).root.remove();
      this.cards.delete(name);
    }
    await Promise.all(catalogue.map((described) => this.#card(described).refresh(status.get(described.dataset))));
  }

  #card(described) {
    if (!this.cards.has(described.dataset)) {
      this.cards.set(described.dataset, new Card(described, this.app));
      this.root.lastElementChild.append(this.cards.get(described.dataset).root);
    }
    return this.cards.get(described.dataset);
  }

  fail(trouble) {
    for (const card of this.cards.values()) card.fail(trouble);
  }

  remove() {
    this.root.remove();
  }
}

class Card {
  constructor(described, app) {
    Object.assign(this, { described, app, root: stamp("card") });
    this.part = (selector) => this.root.querySelector(selector);
    this.root.dataset.dataset = described.dataset;
    this.part("h3 a").textContent = described.title;
    this.part(".about").textContent = described.description;
    this.view = described.views.find((v) => v.window_s && drawable(v));
  }

  async refresh(status) {
    this.part("h3 a").href = format(elsewhere(this.app.state, "dataset", this.described.dataset));
    if (!status) return this.fail(new Trouble({ detail: "the status does not name this dataset", next: "braid status" }));
    const meta = status.serving;
    this.root.dataset.state = verdictOf(meta);
    this.part(".pill").textContent = VERDICTS[this.root.dataset.state];
    if (meta) this.part(".sentence").textContent = coverageText(meta);
    else say(this.part(".sentence"), `${status.reason ?? "No answer yet"}.`, status.next);
    this.part(".tiles").replaceChildren(...this.#tiles(status));
    if (meta && this.view) await this.#way();
    return undefined;
  }

  async #way() {
    const { body } = await ask(apiUrl(this.view, elsewhere(this.app.state, "dataset"), NEWEST));
    const points = eventsPerWindow(this.view, [...body.data].reverse());
    const figure = this.part(".way");
    figure.hidden = points.length < 2;
    figure.replaceChildren(spark(points, { floor: 0 }), h("figcaption", { textContent: `events per ${spanText(this.view.window_s)} window, ${countText(points.length, "window")}` }));
  }

  #tiles(status) {
    const { counts, lag, generation } = status;
    if (!counts) return [];
    const rate = this.app.rates(status.dataset);
    return [
      tile("Events counted", counts.good, rate.counting ? rateText(rate.counting) : `${numberText(counts.copies)} copies left out`),
      tile("Age", spanText(status.freshness_s), lag.events ? `${numberText(lag.events)} wait in Kafka` : "nothing waits in Kafka"),
      tile("Generation", generation?.generation ?? null, generation?.published_at ? `${spanText((Date.now() - Date.parse(generation.published_at)) / 1000)} old` : "none published"),
      tile("Alerts", counts.alerts, `${countText(counts.dead, "dead letter")}`),
    ];
  }

  fail(trouble) {
    this.root.dataset.state = "error";
    this.part(".pill").textContent = VERDICTS.error;
    say(this.part(".sentence"), `${trouble.message}.`, trouble.next);
  }
}
