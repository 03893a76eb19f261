// Charts over time and histograms, drawn by uPlot in the colours of the style.

// The time axis: one minute at first, growing to five minutes.
const MIN_SPAN_MS = 60_000;
const MAX_SPAN_MS = 300_000;

// Fine buckets are shown as so many bars for each factor of ten.
const BARS_PER_DECADE = 5;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const fontOf = (size) => `${size}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;

// An element that a uPlot fills; `options` gives all but its size.
class Plot {
  constructor(options, data) {
    this.element = make("div", { class: "chart", role: "img", tabindex: 0 });
    this.uplot = null;
    new ResizeObserver(() => this.fit(options, data)).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.uplot?.redraw());
  }

  fit(options, data) {
    const size = { width: this.element.clientWidth, height: this.element.clientHeight };
    if (!size.width || !size.height) return;
    if (this.uplot) {
      this.uplot.setSize(size);
      return;
    }
    this.uplot = new uPlot({ ...options(), ...size }, data(), this.element);
  }
}

const axis = (changes) => ({ stroke: () => colour("muted"), font: fontOf(11), gap: 4,
  grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false }, ...changes });

// One line for each series, with gaps where a value is missing. `series`: a list of
// {name, style, read(metrics), format}; `zero`: whether the scale begins at 0; `onHover` is called
// when another time is pointed at. All charts of the page point at the same time.
class Chart extends Plot {
  constructor(series, zero, large, onHover) {
    super(() => this.options(large), () => this.data());
    Object.assign(this, { series, zero, onHover, history: [], cursor: null });
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("blur", () => this.pointAt(null));
  }

  add(metrics) {
    this.history.push(metrics);
    while (this.history[0].at < metrics.at - MAX_SPAN_MS) this.history.shift();
    this.uplot?.setData(this.data());
    this.onHover();
  }

  data() {
    return [this.history.map(({ at }) => at / 1000),
      ...this.series.map((line) => this.history.map((metrics) => line.read(metrics) ?? null))];
  }

  options(large) {
    const { format } = this.series[0];
    return {
      legend: { show: false },
      padding: [large ? 8 : 6, large ? 14 : 6, large ? 0 : 4, 0],
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "time" }, points: { size: 7 } },
      scales: { x: { range: () => this.times() }, y: { range: (_, low, high) => this.values(low, high) } },
      axes: [
        axis({ show: large, size: 22, grid: { show: false }, splits: (_, __, from, to) => quarters(from, to),
          values: (_, splits) => splits.map((at) => this.ago(at * 1000)) }),
        axis({ size: 52, splits: large ? undefined : (_, __, low, high) => [low, high],
          values: (_, splits) => splits.map((value) => format(value)) }),
      ],
      series: [{}, ...this.series.map((line) => ({
        stroke: () => colour(line.style), width: 2, dash: line.dashed ? [5, 4] : undefined,
        points: { show: false },
      }))],
      hooks: { setCursor: [(plot) => this.moved(plot.cursor.idx)] },
    };
  }

  end() {
    return this.history.at(-1)?.at ?? 0;
  }

  ago(at) {
    return at > this.end() - 100 ? "now" : `−${number((this.end() - at) / 1000)} s`;
  }

  times() {
    const span = Math.max(MIN_SPAN_MS, this.end() - (this.history[0]?.at ?? 0));
    return [(this.end() - span) / 1000, this.end() / 1000];
  }

  values(low, high) {
    if (low == null) return [0, 1];
    const room = (high - Math.max(low, 0)) * 0.08 || Math.abs(high) * 0.1 || 1;
    return this.zero ? [0, high + room] : [low - room, high + room];
  }

  moved(index) {
    const cursor = this.history[index ?? -1] ?? null;
    if (cursor === this.cursor) return;
    this.cursor = cursor;
    this.onHover();
  }

  // With the arrow keys through time; Escape goes back to now.
  pressed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.pointAt(null);
    if (!step || !this.history.length) return;
    event.preventDefault();
    const from = this.cursor ? this.history.indexOf(this.cursor) : this.history.length;
    this.pointAt(Math.min(this.history.length - 1, Math.max(0, from + step)));
  }

  pointAt(index) {
    if (!this.uplot) return;
    const left = index === null ? -10 : this.uplot.valToPos(this.history[index].at / 1000, "x");
    this.uplot.setCursor({ left, top: 0 }, true, true); // and those of the other charts
  }
}

const quarters = (from, to) => [0.25, 0.5, 0.75, 1].map((share) => from + share * (to - from));

// How often each duration was measured lately, on a scale of logarithms, with p50 and p99 marked.
class Histogram extends Plot {
  constructor() {
    super(() => this.options(), () => this.shown);
    this.shown = [[0], [null]];
    this.marks = [];
  }

  // `counts`: for each bucket of a LatencyHistogram, how many; `marks`: durations in ms.
  set(counts, marks) {
    const bars = new Map();
    for (const [bucket, count] of counts) {
      const bar = Math.floor(Math.log10(bucketMs(bucket)) * BARS_PER_DECADE);
      bars.set(bar, (bars.get(bar) ?? 0) + count);
    }
    // Two decades at least, so that a single bar does not look like a wall.
    const places = [...bars.keys()].sort((a, b) => a - b);
    const from = Math.min(places[0] ?? 0, 0);
    const to = Math.max(places.at(-1) ?? 0, from + 3 * BARS_PER_DECADE);
    const all = Array.from({ length: to - from + 1 }, (_, place) => from + place);
    this.shown = [all, all.map((place) => bars.get(place) ?? null)];
    this.marks = marks.filter(({ at }) => at != null);
    this.uplot?.setData(this.shown);
  }

  options() {
    return {
      legend: { show: false },
      cursor: { show: false },
      padding: [6, 6, 0, 6],
      scales: {
        x: { time: false, range: () => [this.shown[0][0] - 0.6, this.shown[0].at(-1) + 0.6] },
        y: { range: (_, __, high) => [0, (high || 1) * 1.05] },
      },
      axes: [
        axis({ size: 20, grid: { show: false }, splits: () => this.decades(),
          values: (_, splits) => splits.map((place) => round(10 ** (place / BARS_PER_DECADE))) }),
        { show: false },
      ],
      series: [{}, { fill: () => colour("bar"), width: 0, points: { show: false },
        paths: uPlot.paths.bars({ size: [0.86, 40], align: 1, radius: 0.2 }) }],
      hooks: { draw: [(plot) => this.mark(plot)] },
    };
  }

  decades() {
    const wanted = this.shown[0].filter((place) => place % BARS_PER_DECADE === 0);
    const every = Math.ceil(wanted.length / 5);
    return wanted.filter((_, index) => index % every === 0);
  }

  mark(plot) {
    const { ctx, bbox } = plot;
    for (const { at, style } of this.marks) {
      const x = plot.valToPos(Math.log10(at) * BARS_PER_DECADE, "x", true);
      ctx.fillStyle = colour(style);
      ctx.fillRect(x - devicePixelRatio, bbox.top, 2 * devicePixelRatio, bbox.height);
    }
  }
}

// A power of ten as a label: 1 ms, 100 ms, 10 s.
function round(ms) {
  const whole = Number(ms.toPrecision(1));
  return whole < 1000 ? `${whole} ms` : `${whole / 1000} s`;
}
