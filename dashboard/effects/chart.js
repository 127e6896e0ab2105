// One chart on one canvas: drawn, redrawn, zoomed, clicked, saved.
/* global Chart */
const SERIES = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/** The colours of the moment, from the style sheet. */
export function colors() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { ink: of("ink"), soft: of("soft"), surface: of("surface"), faint: `${of("soft")}55`, grid: of("grid"), high: of("high"), low: of("low"), series: SERIES.map(of) };
}

/**
 * A chart that follows configurations.
 * onrange(from_ms, to_ms) after a drag over an axis of time; onkey(row, more) after a click on a legend or a point.
 */
export class Drawing {
  constructor(canvas, { onrange, onkey }) {
    this.canvas = canvas;
    this.onrange = onrange;
    this.onkey = onkey;
  }

  available() {
    return typeof Chart !== "undefined";
  }

  label(text) {
    this.canvas.ariaLabel = text;
  }

  show(config) {
    this.canvas.hidden = false;
    this.#interact(config);
    if (!this.chart) {
      this.chart = new Chart(this.canvas, config);
      return;
    }
    Object.assign(this.chart, { data: config.data, options: config.options });
    this.chart.update("none");
  }

  #interact({ data, options }) {
    const pick = (element, event) => {
      const set = data.datasets[element.datasetIndex];
      const row = (set.data[element.index ?? 0] ?? set.data[0])?.row;
      if (row) this.onkey(row, event?.native?.ctrlKey || event?.native?.metaKey || event?.native?.shiftKey);
    };
    options.plugins.legend.onClick = (event, item) => pick({ datasetIndex: item.datasetIndex }, event);
    options.onClick = (event, found) => found.length && pick(found[0], event);
    if (options.scales.x?.type !== "time") return;
    options.plugins.zoom = {
      zoom: {
        mode: "x",
        drag: { enabled: true, threshold: 8, backgroundColor: `${colors().low}33` },
        onZoomComplete: ({ chart }) => {
          const { min, max } = chart.scales.x;
          this.onrange(min, max);
        },
      },
    };
  }

  /** The chart as a PNG with its title, on the ground of the page. */
  picture(title, subtitle) {
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const top = Math.round(52 * ratio);
    const made = document.createElement("canvas");
    [made.width, made.height] = [this.canvas.width, this.canvas.height + top];
    const [pen, { ink, soft, surface }] = [made.getContext("2d"), colors()];
    pen.fillStyle = surface;
    pen.fillRect(0, 0, made.width, made.height);
    pen.fillStyle = ink;
    pen.font = `600 ${16 * ratio}px system-ui, sans-serif`;
    pen.fillText(title, 12 * ratio, 24 * ratio);
    pen.fillStyle = soft;
    pen.font = `${12 * ratio}px system-ui, sans-serif`;
    pen.fillText(subtitle, 12 * ratio, 43 * ratio);
    pen.drawImage(this.canvas, 0, top);
    return new Promise((done) => made.toBlob(done, "image/png"));
  }

  destroy() {
    this.chart?.destroy();
    this.chart = undefined;
  }
}
