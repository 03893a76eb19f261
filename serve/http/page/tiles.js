// The tiles of the live metrics, each with its chart, or the reason why its metric is missing.

const noShard = (now) => now.shards ? "no shard has posted it yet" : "no shard has posted its status";
const noLearner = (now) => now.learner ? "no example was learned lately" : "the learner has not posted its status";
const ms = { format: duration };
const count = { format: (value) => number(value) };
const quality = { format: (value) => number(value, 3) };
const percent = { format: (value) => value == null ? ABSENT : `${number(value * 100, 1)} %` };
const halves = (kind) => [
  { name: "p50", style: "live", read: (now) => now[`${kind}50`], ...ms },
  { name: "p99", style: "second", read: (now) => now[`${kind}99`], ...ms },
];

// What tells the quality beside the loss, as the learner names it.
const MEASURES = {
  auc: "AUC", accuracy: "accuracy", mean_absolute_error: "mean absolute error",
  mean_reciprocal_rank: "mean reciprocal rank",
};

// `lines` are drawn, and the first is the big number; `under` is the smaller text below it.
// `histogram` gives the counts by bucket that are drawn instead, with the lines as marks.
// `titleOf` is the title once there are metrics, where that depends on them.
const TILES = [
  {
    title: "Progressive AUC, last 20,000 examples", wide: true, zero: false,
    titleOf: (now) => `Progressive ${MEASURES[now.measure]}, last 20,000 examples`,
    lines: [
      { name: "served", style: "live", read: (now) => now.live, ...quality },
      { name: "frozen", style: "frozen", dashed: true, read: (now) => now.frozen, ...quality },
      { name: "base", style: "base", dashed: true, read: (now) => now.base, ...quality },
    ],
    missing: (now) => !now.learner ? "the learner has not posted its status"
      : now.measure === "auc" ? "no example of each label yet" : "no example yet",
    under: (now) => now.allFrozen == null
      ? `${several(now.examples, "example")}`
        + (now.logLoss == null ? "" : `; log loss ${number(now.logLoss, 3)}, that of the base rate ${number(now.baseLoss, 3)}`)
      : `since the reference was frozen: live ${number(now.allLive, 3)}, `
        + `frozen ${number(now.allFrozen, 3)} over ${number(now.compared)} examples`,
  },
  {
    title: "Events", zero: true, unit: " /s", missing: noShard,
    lines: [{ name: "events", style: "live", read: (now) => now.eventsPerS, ...count }],
    under: (now) => `${number(now.events)} in all · late ${number(now.late)} · dead ${number(now.dead)}`,
  },
  {
    title: "Event to features", missing: noShard, histogram: (now) => now.features,
    lines: halves("feature"),
  },
  {
    title: "Event to weights", missing: noLearner, histogram: (now) => now.weights,
    lines: halves("weights"),
  },
  {
    title: "Lag", zero: true, unit: " records unread", missing: noShard,
    lines: [{ name: "lag", style: "live", read: (now) => now.lag, ...count }],
    under: (now) => `${now.shards} shard${now.shards === 1 ? "" : "s"}`
      + (now.starting ? ` · ${now.starting} starting` : ""),
  },
  {
    title: "Time to answer", missing: () => "no request was answered lately",
    histogram: (now) => now.answers, lines: halves("answer"),
    under: (now) => `${number(now.answersPerS, 1)} answers/s`,
  },
  {
    title: "Calibration error and drift", zero: true,
    missing: (now) => now.learner ? "measured where predictions are probabilities" : "the learner has not posted its status",
    lines: [
      { name: "served", style: "live", read: (now) => now.calibration, ...percent },
      { name: "frozen", style: "frozen", dashed: true, read: (now) => now.calibrationFrozen, ...percent },
    ],
    under: (now) => `base rate ${percent.format(now.baseRate)} · ${several(now.trips, "guard trip")}`
      + (now.heldBack ? ` · ${several(now.heldBack, "example")} held back` : ""),
  },
];

class Tile {
  constructor(spec) {
    this.spec = spec;
    this.heading = make("h2", {}, spec.title);
    this.big = make("p", { class: "big" });
    this.under = make("p", { class: "under" });
    this.chart = spec.histogram ? new Histogram()
      : new Chart(spec.lines, spec.zero, spec.wide, () => this.write());
    this.element = make("article", { class: spec.wide ? "tile wide" : "tile" },
      this.heading, this.big, this.under, this.chart.element);
  }

  add(now) {
    this.now = now;
    if (!this.spec.histogram) {
      this.chart.add(now);
      return;
    }
    this.chart.set(this.spec.histogram(now),
      this.spec.lines.map((line) => ({ at: line.read(now), style: line.style })));
    this.write();
  }

  // The newest metrics, or those under the pointer.
  write() {
    const shown = this.chart.cursor ?? this.now;
    if (!shown) return;
    const { lines: [first, ...others], unit, missing, under, titleOf } = this.spec;
    const title = titleOf?.(shown) ?? this.spec.title;
    this.heading.replaceChildren(title);
    const none = this.spec.lines.every((line) => line.read(shown) == null);
    this.element.classList.toggle("missing", none);
    this.big.replaceChildren(...(none ? [ABSENT] : valueOf(first, shown, unit, others.length)));
    const ago = this.chart.cursor ? `${duration(this.now.at - shown.at)} ago` : null;
    const text = ago ?? (none ? missing(shown) : under?.(shown) ?? "");
    const known = others.filter((line) => line.read(shown) != null);
    const beside = none ? [] : known.flatMap((line) => [...valueOf(line, shown, "", true), " "]);
    if (beside.length && text) beside.push("· ");
    this.under.replaceChildren(...beside, text);
    this.chart.element.setAttribute("aria-label", `${title}: `
      + this.spec.lines.map((line) => `${line.name} ${formatted(line, shown)}`).join(", "));
  }
}

function formatted(line, metrics) {
  const value = line.read(metrics);
  return value == null ? ABSENT : line.format(value);
}

// The value of a line; with a sample of its colour where the tile has several lines.
function valueOf(line, shown, unit, several) {
  const text = formatted(line, shown);
  if (!several) return [text, make("small", {}, unit ?? "")];
  return [make("span", { class: `key ${line.style}${line.dashed ? " dashed" : ""}` }), text,
    make("small", {}, ` ${line.name}`)];
}
