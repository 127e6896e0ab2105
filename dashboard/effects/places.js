// Places on a plane: Leaflet without tiles, so that nothing is asked of anybody else. Lines of latitude and longitude and
// a scale say where one is. Every mark is drawn on one canvas: a thousand of them move in a few milliseconds.
/* global L */
import { REACH, cornersOf, degreeText, degreesOf, stepOf, tipOf } from "../pure/map.js";
import { h, replaceIfOther, svg } from "./dom.js";

const LINE_PX = 110; // between two lines of the graticule, at least
const CLOSEST = 15; // zoom to which a few places may fill the map
const LEGEND_PX = 8;
const HIGH_PX = 52; // of the title over a saved picture

/** A shape of pure/map.js, drawn. */
const shapeOf = (shape, radius) => {
  const corners = cornersOf(shape, radius);
  return corners ? svg("polygon", { points: corners.map((p) => p.join(",")).join(" ") }) : svg("circle", { r: radius });
};
const swatch = (child, radius, attributes = {}) => svg("svg", { viewBox: `${-radius} ${-radius} ${2 * radius} ${2 * radius}`, width: 2 * radius, height: 2 * radius, "aria-hidden": "true", ...attributes }, child);

/** Leaflet's classes with our shapes; made when they are first wanted, for the library may be missing. */
function classes() {
  const Mark = L.CircleMarker.extend({
    _updateBounds() {
      const reach = this._radius * REACH + this._clickTolerance();
      this._pxBounds = L.bounds(this._point.subtract([reach, reach]), this._point.add([reach, reach]));
    },
    _updatePath() {
      this._renderer.drawMark(this);
    },
    /** Take another place and look; the plane is drawn once, when all have. */
    become(at, style) {
      Object.assign(this.options, style);
      this._radius = style.radius;
      this._latlng = L.latLng(at);
      this._project();
      this.bringToFront(); // they come the largest first
    },
  });
  const Plane = L.Canvas.extend({
    drawMark(mark) {
      if (!this._drawing || mark._empty()) return;
      const corners = cornersOf(mark.options.shape, mark._radius);
      if (!corners) {
        this._updateCircle(mark);
        return;
      }
      this._ctx.beginPath();
      for (const [x, y] of corners) this._ctx.lineTo(mark._point.x + x, mark._point.y + y);
      this._ctx.closePath();
      this._fillStroke(this._ctx, mark);
    },
    /** Draw everything, now. */
    again() {
      L.Util.cancelAnimFrame(this._redrawRequest);
      this._redrawBounds = null;
      this._redraw();
    },
    _draw() {
      if (this.under && this._bounds) {
        this._ctx.save();
        if (this._redrawBounds) {
          const { min, max } = this._redrawBounds;
          this._ctx.beginPath();
          this._ctx.rect(min.x, min.y, max.x - min.x, max.y - min.y);
          this._ctx.clip();
        }
        this.under(this._bounds, this._ctx);
        this._ctx.restore();
      }
      L.Canvas.prototype._draw.call(this);
    },
  });
  return { Mark, Plane };
}

/** Lines at round degrees, with their degrees along the left and the lower edge of what is seen. */
function graticule(map, bounds, pen, { grid, soft }) {
  const [northWest, southEast] = [map.layerPointToLatLng(bounds.min), map.layerPointToLatLng(bounds.max)];
  const seen = L.bounds(map.containerPointToLayerPoint([0, 0]), map.containerPointToLayerPoint(map.getSize()));
  const step = stepOf(Math.abs(southEast.lng - northWest.lng), bounds.getSize().x / LINE_PX);
  Object.assign(pen, { lineWidth: 1, globalAlpha: 1, strokeStyle: grid, fillStyle: soft, font: "11px system-ui, sans-serif", textBaseline: "bottom" });
  pen.setLineDash([]);
  pen.beginPath();
  for (const lng of degreesOf(northWest.lng, southEast.lng, step)) {
    const x = Math.round(map.latLngToLayerPoint([0, lng]).x) + 0.5;
    pen.moveTo(x, bounds.min.y);
    pen.lineTo(x, bounds.max.y);
    if (x > seen.min.x + 60 && x < seen.max.x - 60) pen.fillText(degreeText(lng, "lon"), x + 4, seen.max.y - 22);
  }
  for (const lat of degreesOf(Math.max(-85, southEast.lat), Math.min(85, northWest.lat), step)) {
    const y = Math.round(map.latLngToLayerPoint([lat, 0]).y) + 0.5;
    pen.moveTo(bounds.min.x, y);
    pen.lineTo(bounds.max.x, y);
    if (y > seen.min.y + 90 && y < seen.max.y - 40) pen.fillText(degreeText(lat, "lat"), seen.min.x + 6, y - 2);
  }
  pen.stroke();
}

/** onkey(row): somebody wants to see only this place. */
export class Places {
  constructor(figure, { onkey }) {
    Object.assign(this, { onkey, marks: new Map(), auto: true });
    this.place = h("div", { className: "places", role: "group" });
    this.legend = h("ul", { className: "legend" });
    figure.append(this.place);
    figure.after(this.legend);
  }

  available() {
    return typeof L !== "undefined";
  }

  label(text) {
    this.place.ariaLabel = `${text}; the arrow keys move the map, + and − zoom`;
  }

  /** Show what pure/kinds.js made of a window; what stays, stays in place. */
  show(config) {
    this.config = config;
    this.place.hidden = !config.reach;
    this.#legend();
    if (!config.reach) return;
    if (!this.map) this.#make();
    this.#reach(config.reach);
    const seen = new Set();
    for (const mark of config.marks) {
      seen.add(mark.key);
      this.#put(mark);
    }
    for (const [key, layer] of this.marks) {
      if (seen.has(key)) continue;
      if (this.told === layer) this.map.closePopup();
      this.group.removeLayer(layer);
      this.marks.delete(key);
    }
    if (this.told && this.group.isPopupOpen()) this.group.getPopup().update();
    this.plane.again();
  }

  #put({ key, at, radius, shape, color, row }) {
    const style = { shape, color: this.config.theme.surface, fillColor: color, radius };
    const known = this.marks.get(key);
    if (!known) {
      const made = new this.Mark(at, { ...style, renderer: this.plane, weight: 1, opacity: 1, fillOpacity: 0.85, bubblingMouseEvents: false });
      made.row = row;
      this.marks.set(key, made);
      this.group.addLayer(made);
      return;
    }
    known.row = row;
    known.become(at, style);
  }

  #make() {
    const { Mark, Plane } = classes();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const touch = matchMedia("(pointer: coarse)").matches; // one finger scrolls the page, two move the map
    this.Mark = Mark;
    this.plane = new Plane({ padding: 0.3 });
    this.map = L.map(this.place, { zoomAnimation: !still, fadeAnimation: false, markerZoomAnimation: !still, inertia: !still, zoomSnap: 0.5, scrollWheelZoom: false, dragging: !touch, minZoom: 1, maxZoom: 18, renderer: this.plane, zoomControl: true });
    this.plane.under = (bounds, pen) => graticule(this.map, bounds, pen, this.config.theme);
    this.map.attributionControl.setPrefix('<a href="https://leafletjs.com" rel="noreferrer" title="Leaflet, BSD-2-Clause">Leaflet</a>');
    this.map.attributionControl.addAttribution('<a href="/static/vendor/leaflet-LICENSE.txt">its licence</a>');
    L.control.scale({ position: "bottomright" }).addTo(this.map);
    this.group = L.featureGroup().addTo(this.map);
    this.group.bindTooltip((layer) => this.#tip(layer), { sticky: true, direction: "top" });
    this.group.bindPopup((layer) => this.#told(layer), { closeButton: true, autoPan: !still, minWidth: 140 });
    this.group.on("popupopen", () => this.group.closeTooltip());
    this.map.on("popupclose", () => (this.told = null));
    this.map.on("dragstart zoomstart", () => (this.auto = this.auto && Boolean(this.fitting)));
    this.place.addEventListener("focus", () => this.map.scrollWheelZoom.enable());
    this.place.addEventListener("blur", () => this.map.scrollWheelZoom.disable());
    this.observer = new ResizeObserver(() => {
      this.map.invalidateSize({ animate: false });
      if (this.auto) this.fit();
    });
    this.observer.observe(this.place);
  }

  #tip(layer) {
    const { title, lines } = tipOf(this.config.view, layer.row);
    return h("div", {}, h("strong", { textContent: title }), ...lines.map((line) => h("div", { textContent: line })));
  }

  #told(layer) {
    this.told = layer;
    const tip = this.#tip(layer);
    tip.append(h("button", { type: "button", className: "plain", textContent: "Show only this", onclick: () => this.onkey(layer.row) }));
    return tip;
  }

  // ---- what is seen ----

  #reach(reach) {
    const known = this.reach;
    this.reach = known ? L.latLngBounds(known).extend(reach) : L.latLngBounds(reach);
    if (this.auto && !(known && known.contains(reach))) this.fit();
  }

  /** Show all places there are, now and as more come. */
  fit() {
    if (!this.map || !this.reach) return;
    this.auto = this.fitting = true;
    this.map.fitBounds(this.reach, { padding: [34, 34], maxZoom: CLOSEST, animate: false });
    this.fitting = false;
  }

  /** Other places are asked for: the next ones are fitted anew. */
  forget() {
    this.reach = undefined;
    this.auto = true;
  }

  // ---- legend ----

  #legend() {
    const { legend, view, sizes } = this.config;
    replaceIfOther(this.legend, JSON.stringify([legend, sizes]), () => [
      h("li", { className: "soft", textContent: view.map.colour }),
      ...legend.map(({ word, slot, shape, count }) => h("li", { data: { word } }, swatch(shapeOf(shape, LEGEND_PX), LEGEND_PX * REACH, { "data-slot": slot }), `${word} `, h("data", { value: String(count), textContent: `(${count})` }))),
      ...sizes.map(({ text, radius }) => h("li", { className: "soft" }, swatch(shapeOf("circle", radius - 1), radius), text)),
    ]);
  }

  /** The map as a PNG with its title and its words. */
  async picture(title, subtitle) {
    const canvas = this.place.querySelector("canvas");
    const [box, at, { width, height }] = [this.place.getBoundingClientRect(), canvas.getBoundingClientRect(), this.place.getBoundingClientRect()];
    const ratio = canvas.width / at.width;
    const made = h("canvas", { width: width * ratio, height: (height + HIGH_PX + 26) * ratio });
    const pen = made.getContext("2d");
    const { theme, legend } = this.config;
    pen.scale(ratio, ratio);
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, width, height + HIGH_PX + 26);
    pen.save();
    pen.rect(0, HIGH_PX, width, height);
    pen.clip();
    pen.drawImage(canvas, at.x - box.x, at.y - box.y + HIGH_PX, at.width, at.height);
    pen.restore();
    const write = (text, x, y, font, color) => {
      Object.assign(pen, { font: `${font} system-ui, sans-serif`, fillStyle: color });
      pen.fillText(text, x, y);
      return pen.measureText(text).width;
    };
    write(title, 12, 24, "600 16px", theme.ink);
    write(subtitle, 12, 43, "12px", theme.soft);
    let x = 14;
    for (const { word, slot, shape } of legend) {
      const y = height + HIGH_PX + 13;
      pen.fillStyle = theme.series[slot];
      pen.beginPath();
      const corners = cornersOf(shape, 5);
      if (corners) for (const [dx, dy] of corners) pen.lineTo(x + 6 + dx, y + dy);
      else pen.arc(x + 6, y, 5, 0, 2 * Math.PI);
      pen.fill();
      x += 34 + write(word, x + 18, y + 4, "12px", theme.ink);
    }
    return new Promise((done) => made.toBlob(done, "image/png"));
  }

  destroy() {
    this.observer?.disconnect();
    this.map?.remove();
    this.map = undefined;
  }
}
