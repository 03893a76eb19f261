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

// The arms of now; the version of before where replicas differ at present.
const settled = (now, before) => now.map(({ name, version }) => version !== undefined ? { name, version }
  : before.find((one) => one.name === name && one.version !== undefined) ?? { name, version: null });

// Changes of what arms of experiments are pinned to, between two moments: an arm that was not there
// before has not changed.
function armChanges(before, now) {
  return now.arms.flatMap(({ name, version }) => {
    const was = before.arms.find((one) => one.name === name);
    return was && was.version !== version ? [{ at: now.at, name, from: was.version, to: version }] : [];
  });
}

const armText = ({ name, version }) => `${name} ${version ?? "live"}`;
// In pixels of the style: the names of arms, and the width of their lines.
const ARM_FONT = 10, LINE = 2;

// The versions of learner and replica over time, with the alerts of that time and changes of arms as
// marks, and the versions that arms of experiments are pinned to as lines of their own.
class Timeline extends Chart {
  constructor(note) {
    super([
      { name: "learned", style: "frozen", dashed: true, read: (now) => now.learned, format: number },
      { name: "served", style: "live", read: (now) => now.served, format: number },
    ], false, true, () => this.write());
    this.note = note;
    this.alerts = [];
    this.epochs = [];
    this.changes = [];
  }

  show(now, status) {
    const before = this.now ?? now;
    this.now = { ...now, arms: settled(now.arms, before.arms) };
    this.changes.unshift(...armChanges(before, this.now));
    this.alerts = alertTimes(status);
    const epoch = versionOf(now.version)?.epoch;
    if (epoch !== undefined && epoch !== this.epoch) {
      if (this.epoch !== undefined) this.epochs.push({ at: now.at, kind: `epoch ${epoch}` });
      this.epoch = epoch;
    }
    this.add(this.now);
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
      ...this.epochs.map((one) => ({ ...one, style: "second" })),
      ...this.changes.map((one) => ({ ...one, style: "good" }))];
    for (const { at, style } of marks.filter((one) => one.at > this.now.at - MARKED_MS)) {
      const x = plot.valToPos(at / 1000, "x", true);
      if (x < bbox.left) continue;
      ctx.fillStyle = colour(style);
      ctx.fillRect(x - devicePixelRatio, bbox.top, 2 * devicePixelRatio, bbox.height);
    }
    this.markArms(plot);
  }

  // A line for the version of each pinned arm at each moment. One that lies beyond the scale, or is of
  // another epoch, is drawn at the edge that is nearest to it.
  markArms(plot) {
    const { ctx, bbox } = plot, pinned = this.now.arms.filter(({ version }) => version != null);
    ctx.fillStyle = colour("good");
    ctx.font = fontOf(ARM_FONT * devicePixelRatio);
    const placed = [];
    for (const { name, version } of pinned) {
      let since = Infinity;
      for (const [index, { at, arms }] of this.history.entries()) {
        const then = arms.find((one) => one.name === name)?.version;
        const from = plot.valToPos(at / 1000, "x", true);
        if (then !== version) since = Infinity;
        else since = Math.min(since, from);
        if (then == null) continue;
        const to = plot.valToPos((this.history[index + 1]?.at ?? at) / 1000, "x", true);
        ctx.fillRect(from, this.height(plot, then), Math.max(to - from, LINE * devicePixelRatio), LINE * devicePixelRatio);
      }
      this.label(plot, since, this.height(plot, version), `${name} ${version}`, placed);
    }
  }

  height({ bbox, valToPos, scales: { y } }, version) {
    const { epoch, step } = versionOf(version);
    const shown = epoch === this.epoch ? step : epoch < this.epoch ? y.min : y.max;
    return Math.min(Math.max(valToPos(shown, "y", true), bbox.top), bbox.top + bbox.height - LINE * devicePixelRatio);
  }

  // The name where its line begins, before that where there is no room behind: above the line, or above
  // the names that stand there already.
  label({ ctx, bbox }, since, line, text, placed) {
    const size = ARM_FONT * devicePixelRatio;
    let y = Math.max(line - 3 * devicePixelRatio, bbox.top + size);
    while (placed.some((other) => Math.abs(other - y) < size)) y -= size;
    placed.push(y);
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    const { width } = ctx.measureText(text), gap = size / 2;
    const room = bbox.left + bbox.width - since - gap >= width;
    ctx.fillText(text, Math.max(bbox.left, room ? since + gap : since - gap - width), y);
  }

  write() {
    const now = this.cursor ?? this.now;
    if (!now) return;
    const behind = now.learned == null || now.served == null ? null : now.learned - now.served;
    const told = this.alerts.slice(0, 2).map(({ part, kind, at }) =>
      `${new Date(at).toLocaleTimeString()} ${part} ${words(kind)}`);
    const moved = this.changes.slice(0, 2).map(({ at, name, from, to }) =>
      `${new Date(at).toLocaleTimeString()} ${name} ${from ?? "live"} \u2192 ${to ?? "live"}`);
    const text = now.served == null ? "no weights have arrived" : `serves version ${now.version}, `
      + `${duration(now.modelAge)} old`
      + (behind === null ? "" : `, ${behind > 0 ? `${several(behind, "step")} behind the learner` : "the learner's newest"}`);
    const arms = now.arms.length ? [`arms: ${now.arms.map(armText).join(", ")}`] : [];
    this.note.textContent = [text, ...arms, ...moved, ...told].join(" · ");
    this.element.setAttribute("aria-label", ["Versions of the weights: " + text, ...arms].join("; "));
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
