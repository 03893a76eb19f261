// Small line charts in SVG: one line for each series, with gaps where a value is missing.

const SVG = "http://www.w3.org/2000/svg";
// The time axis: one minute at first, growing to five minutes.
const MIN_SPAN_MS = 60_000;
const MAX_SPAN_MS = 300_000;

function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// `series`: a list of {name, style, read(metrics), format}; `zero`: whether the scale begins at 0.
class Chart {
  constructor(series, zero, onHover) {
    Object.assign(this, { series, zero, onHover, history: [], cursor: null });
    this.element = make("div", { class: "chart", role: "img" });
    this.svg = draw(this.element, "svg", {});
    this.element.addEventListener("pointermove", (event) => this.point(event));
    this.element.addEventListener("pointerleave", () => this.leave());
    new ResizeObserver(() => this.paint()).observe(this.element);
  }

  add(metrics) {
    this.history.push(metrics);
    while (this.history.length && this.history[0].at < metrics.at - MAX_SPAN_MS) this.history.shift();
    this.paint();
  }

  point(event) {
    const box = this.element.getBoundingClientRect();
    const at = this.end() - this.span() * (1 - (event.clientX - box.left) / box.width);
    const nearest = (best, next) => Math.abs(next.at - at) < Math.abs(best.at - at) ? next : best;
    this.cursor = this.history.length ? this.history.reduce(nearest) : null;
    this.paint();
  }

  leave() {
    this.cursor = null;
    this.paint();
  }

  end() {
    return this.history.at(-1)?.at ?? 0;
  }

  span() {
    return Math.max(MIN_SPAN_MS, this.end() - (this.history[0]?.at ?? 0));
  }

  scale() {
    const values = this.history.flatMap((metrics) => this.series.map((line) => line.read(metrics)))
      .filter((value) => value != null);
    if (!values.length) return null;
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (this.zero) low = 0;
    const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
    return this.zero ? [0, high + room] : [low - room, high + room];
  }

  paint() {
    const { clientWidth: width, clientHeight: height } = this.element;
    this.svg.replaceChildren();
    this.onHover(this.cursor);
    if (!width) return;
    const x = (at) => width * (1 - (this.end() - at) / this.span());
    draw(this.svg, "line", { class: "grid", x1: 0, x2: width, y1: height, y2: height });
    const range = this.scale();
    if (range === null) return;
    const y = (value) => height - 1 - (height - 14) * (value - range[0]) / (range[1] - range[0]);
    this.paintScale(range, width, height);
    if (this.cursor) {
      const at = x(this.cursor.at);
      draw(this.svg, "line", { class: "cursor", x1: at, x2: at, y1: 0, y2: height });
    }
    for (const line of this.series) this.paintLine(line, x, y);
  }

  paintScale([low, high], width, height) {
    const format = this.series[0].format;
    draw(this.svg, "line", { class: "grid", x1: 0, x2: width, y1: 13.5, y2: 13.5 });
    draw(this.svg, "text", { x: 0, y: 10 }, format(high));
    draw(this.svg, "text", { x: width, y: 10, "text-anchor": "end" }, `last ${duration(this.span())}`);
    if (!this.zero) draw(this.svg, "text", { x: 0, y: height - 4 }, format(low));
  }

  paintLine(line, x, y) {
    const group = draw(this.svg, "g", { class: line.style });
    let path = "";
    let open = false;
    for (const metrics of this.history) {
      const value = line.read(metrics);
      if (value != null) path += `${open ? "L" : "M"}${x(metrics.at).toFixed(1)} ${y(value).toFixed(1)}`;
      open = value != null;
    }
    draw(group, "path", { d: path });
    const marked = this.cursor ?? this.history.at(-1);
    const value = marked && line.read(marked);
    if (value != null) draw(group, "circle", { cx: x(marked.at), cy: y(value), r: 3.2 });
  }
}
