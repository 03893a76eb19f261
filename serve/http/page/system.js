// The parts of the running system: its shards, the versions of its weights, its candidates' sources.

const MARKED_MS = 300_000;

// Each shard with its partitions: what it has applied, and how far it is behind.
function shardRows(status) {
  return Object.entries(status).filter(([part]) => /^(shard|entity)-/.test(part))
    .sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))
    .map(([part, posted]) => {
      const partitions = Object.entries(posted.partitions ?? {}).map(([name, one]) => {
        const lag = Object.values(one.lag ?? {}).reduce((total, records) => total + records, 0);
        const state = one.replaying ? "replaying" : lag ? `${number(lag)} behind` : "up to date";
        return make("li", { class: one.replaying || lag > 1000 ? "behind" : null,
          title: `partition ${name}: ${state}` }, name,
        make("span", { class: "visually-hidden" }, ` ${state}`));
      });
      const rate = posted.events_per_s == null ? ABSENT : perS(posted.events_per_s);
      return make("tr", {}, make("th", { scope: "row" }, part),
        make("td", {}, make("ul", { class: "partitions" }, ...partitions)),
        make("td", {}, posted.starting ? "starting" : rate),
        make("td", {}, number(posted.entities)),
        make("td", {}, number(posted.lag_total)));
    });
}

// Alerts that a part has told of with their times, the newest first.
function alertTimes(status) {
  return Object.entries(status).flatMap(([part, posted]) =>
    (posted.alerts?.newest ?? []).map(({ kind, at_ms: at }) => ({ part, kind, at })))
    .sort((a, b) => b.at - a.at);
}

// The versions of learner and replica over time, with the alerts of that time as marks, and the
// versions that arms of experiments are pinned to as lines across.
class Timeline extends Chart {
  constructor(note) {
    super([
      { name: "learned", style: "frozen", dashed: true, read: (now) => now.learned, format: number },
      { name: "served", style: "live", read: (now) => now.served, format: number },
    ], false, true, () => this.write());
    this.note = note;
    this.alerts = [];
    this.epochs = [];
  }

  show(now, status) {
    this.now = now;
    this.alerts = alertTimes(status);
    const epoch = versionOf(now.version)?.epoch;
    if (epoch !== undefined && epoch !== this.epoch) {
      if (this.epoch !== undefined) this.epochs.push({ at: now.at, kind: `epoch ${epoch}` });
      this.epoch = epoch;
    }
    this.add(now);
  }

  options(large) {
    const options = super.options(large);
    options.hooks.draw = [(plot) => this.mark(plot)];
    return options;
  }

  mark(plot) {
    if (!this.now) return;
    const { ctx, bbox } = plot;
    const marks = [...this.alerts.map((one) => ({ ...one, style: "bad" })),
      ...this.epochs.map((one) => ({ ...one, style: "second" }))];
    for (const { at, style } of marks.filter((one) => one.at > this.now.at - MARKED_MS)) {
      const x = plot.valToPos(at / 1000, "x", true);
      if (x < bbox.left) continue;
      ctx.fillStyle = colour(style);
      ctx.fillRect(x - devicePixelRatio, bbox.top, 2 * devicePixelRatio, bbox.height);
    }
    this.markPinned(plot);
  }

  markPinned({ ctx, bbox, valToPos, scales: { y } }) {
    ctx.fillStyle = colour("good");
    for (const { epoch, step } of this.now.pinned.map(versionOf)) {
      if (epoch !== this.epoch || step < y.min || step > y.max) continue;
      ctx.fillRect(bbox.left, valToPos(step, "y", true), bbox.width, devicePixelRatio);
    }
  }

  write() {
    const now = this.cursor ?? this.now;
    if (!now) return;
    const behind = now.learned == null || now.served == null ? null : now.learned - now.served;
    const told = this.alerts.slice(0, 2).map(({ part, kind, at }) =>
      `${new Date(at).toLocaleTimeString()} ${part} ${words(kind)}`);
    const text = now.served == null ? "no weights have arrived" : `serves version ${now.version}, `
      + `${duration(now.modelAge)} old`
      + (behind === null ? "" : `, ${behind > 0 ? `${several(behind, "step")} behind the learner` : "the learner's newest"}`);
    const pinned = now.pinned.length ? [`arms are pinned to ${now.pinned.join(", ")}`] : [];
    this.note.textContent = [text, ...pinned, ...told].join(" · ");
    this.element.setAttribute("aria-label", `Versions of the weights: ${text}`);
  }
}

// A name, a number, and a bar of so much of the width.
function barRow(name, text, share) {
  const fill = make("i");
  fill.style.transform = `scaleX(${Math.min(1, share)})`;
  return make("li", {}, make("span", {}, ...breakable(name)), make("b", {}, text), make("span", { class: "bar" }, fill));
}

// A bar for each source of candidates: how many of the items that passed it has given.
const sourceRows = (found, candidates) => Object.entries(found)
  .map(([name, items]) => barRow(name, number(items), items / Math.max(candidates, 1)));

// By custom, a population stability index below the first is steady, and beyond the second a drift.
const STEADY = 0.1, DRIFTED = 0.25;
const SHOWN_INPUTS = 6;

// A bar for each of the inputs that changed most, full at a drift.
function showDrift(found) {
  byId("drift-card").hidden = !found.length;
  const drifted = found.filter(({ index }) => index > DRIFTED).length;
  byId("drift-note").textContent = `newest examples beside the last 50,000 (population stability index: `
    + `below ${STEADY} steady, above ${DRIFTED} a drift); inputs that drift: ${drifted || "none"}`;
  byId("drift").replaceChildren(...found.slice(0, SHOWN_INPUTS).map(({ input, index }) =>
    barRow(input, number(index, 2), Math.min(index / DRIFTED, 1))));
}

// Of a model of several classes, how well it tells each from the others: the most frequent first.
const classRows = (found) => [...found].sort((a, b) => b.support - a.support)
  .map(({ name, support, precision, recall, auc }) => make("tr", {},
    make("th", { scope: "row" }, ...breakable(name)),
    make("td", {}, number(support)),
    ...[precision, recall, auc].map((share) => make("td", {}, number(share, 3)))));

class SystemView {
  constructor() {
    this.timeline = new Timeline(byId("versions-note"));
    byId("versions").append(this.timeline.element);
    this.flow = new Flow(byId("flow"));
  }

  add(now, status) {
    this.flow.add(now);
    this.timeline.show(now, status);
    byId("shards").replaceChildren(...shardRows(status));
    const importance = (status.replica?.importance ?? []).filter(({ size }) => size > 0);
    byId("inputs-card").hidden = !importance.length;
    const largest = Math.max(...importance.map(({ size }) => size), 1e-9);
    byId("inputs").replaceChildren(...importance.slice(0, SHOWN_INPUTS).map(({ input, size }) =>
      barRow(input, number(size, 3), size / largest)));
    const classes = ofRole(status, "learner")[0]?.classes ?? [];
    byId("classes-card").hidden = !classes.length;
    byId("classes").replaceChildren(...classRows(classes));
    showDrift(ofRole(status, "learner")[0]?.input_drift ?? []);
  }
}
