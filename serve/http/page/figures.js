// From what the parts posted to the tiles: one figure a line, and a reason where there is none.

// Widths of the buckets in which parts count latencies (see LatencyHistogram).
const LEAST_MS = 0.01;
const GROWTH = 1.04;

const named = (status, name) => Object.entries(status)
  .filter(([part]) => part === name || part.startsWith(`${name}-`)).map(([, figures]) => figures);

function sum(parts, read) {
  const values = parts.map(read).filter((value) => typeof value === "number");
  return values.length ? values.reduce((total, value) => total + value, 0) : null;
}

function quantile(histograms, share) {
  const counts = new Map();
  for (const [bucket, count] of histograms.flatMap((one) => one?.buckets ?? [])) {
    counts.set(bucket, (counts.get(bucket) ?? 0) + count);
  }
  let left = Math.ceil(share * [...counts.values()].reduce((total, count) => total + count, 0));
  if (!left) return null;
  for (const bucket of [...counts.keys()].sort((one, other) => one - other)) {
    left -= counts.get(bucket);
    if (left <= 0) return LEAST_MS * GROWTH ** (bucket + 0.5);
  }
  return null;
}

// Counts to rates, over the last five seconds; a part that was restarted may count from an older
// snapshot again.
class Rate {
  constructor() {
    this.seen = [];
  }

  at(ms, count) {
    if (count === null) return null;
    this.seen.push({ ms, count });
    while (this.seen.length > 2 && this.seen[1].ms <= ms - 5000) this.seen.shift();
    const [first] = this.seen;
    return ms > first.ms ? Math.max(0, (count - first.count) / (ms - first.ms) * 1000) : null;
  }
}

const rates = { events: new Rate(), requests: new Rate(), examples: new Rate() };

// `status` is that of /v1/status, `model` that of /v1/model.
function figuresOf(status, model, at) {
  const shards = named(status, "shard");
  const replicas = named(status, "replica");
  const learner = named(status, "learner")[0] ?? null;
  const features = shards.map((one) => one.freshness);
  const scores = replicas.map((one) => one.latency);
  const starting = shards.filter((one) => one.starting).length;
  const events = starting ? null : sum(shards, (one) => one.events);
  const requests = sum(replicas, (one) => one.requests);
  return {
    at, shards: shards.length, starting, learner: learner !== null,
    events, eventsPerS: rates.events.at(at, events),
    lag: sum(shards, (one) => one.lag_total), late: sum(shards, (one) => one.late),
    dead: sum(shards, (one) => one.dead),
    feature50: quantile(features, 0.5), feature99: quantile(features, 0.99),
    weights50: quantile([learner?.freshness], 0.5), weights99: quantile([learner?.freshness], 0.99),
    version: model.version, modelAge: model.age_ms,
    examplesPerS: rates.examples.at(at, learner?.examples ?? null),
    aucLive: learner?.auc_recent ?? null, aucFrozen: learner?.auc_recent_frozen ?? null,
    aucAllLive: learner?.auc_live ?? null, aucAllFrozen: learner?.auc_frozen ?? null,
    compared: learner?.compared ?? null, examples: learner?.examples ?? null,
    requestsPerS: rates.requests.at(at, requests),
    score50: quantile(scores, 0.5), score99: quantile(scores, 0.99),
  };
}

const noShard = (now) => now.shards ? "the shards do not post it (yet)" : "no shard has posted";
const noLearner = (now) => now.learner ? "no example learned lately" : "no learner has posted";
const ms = { format: duration };
const count = { format: (value) => number(value) };
const auc = { format: (value) => number(value, 3) };

// `lines` are drawn, the first is the big figure; `under` is a smaller text below it.
const TILES = [
  {
    title: "Progressive AUC, last 20,000 examples", wide: true, zero: false,
    lines: [
      { name: "live", style: "live", read: (now) => now.aucLive, ...auc },
      { name: "frozen", style: "frozen dashed", read: (now) => now.aucFrozen, ...auc },
    ],
    missing: (now) => now.learner ? "no example of both labels yet" : "no learner has posted",
    under: (now) => now.aucAllFrozen == null
      ? `${number(now.examples)} examples; the frozen copy is not there yet`
      : `since the copy was frozen: live ${number(now.aucAllLive, 3)}, `
        + `frozen ${number(now.aucAllFrozen, 3)} over ${number(now.compared)} examples`,
  },
  {
    title: "Events", zero: true, unit: " /s", missing: noShard,
    lines: [{ name: "events", style: "live", read: (now) => now.eventsPerS, ...count }],
    under: (now) => `${number(now.events)} in all · late ${number(now.late)} · dead ${number(now.dead)}`,
  },
  {
    title: "Lag", zero: true, unit: " records unread", missing: noShard,
    lines: [{ name: "lag", style: "live", read: (now) => now.lag, ...count }],
    under: (now) => `${now.shards} shard${now.shards === 1 ? "" : "s"}`
      + (now.starting ? ` · ${now.starting} starting` : ""),
  },
  {
    title: "Event to features", zero: true, missing: noShard,
    lines: [
      { name: "p50", style: "live", read: (now) => now.feature50, ...ms },
      { name: "p99", style: "second", read: (now) => now.feature99, ...ms },
    ],
  },
  {
    title: "Event to weights", zero: true, missing: noLearner,
    lines: [
      { name: "p50", style: "live", read: (now) => now.weights50, ...ms },
      { name: "p99", style: "second", read: (now) => now.weights99, ...ms },
    ],
  },
  {
    title: "Model age", zero: true, missing: () => "no weights have arrived",
    lines: [{ name: "age", style: "live", read: (now) => now.modelAge, ...ms }],
    under: (now) => `version ${now.version ?? ABSENT} · ${number(now.examplesPerS)} examples/s`,
  },
  {
    title: "Scoring time", zero: true,
    missing: () => "no request to score lately",
    lines: [
      { name: "p50", style: "live", read: (now) => now.score50, ...ms },
      { name: "p99", style: "second", read: (now) => now.score99, ...ms },
    ],
    under: (now) => `${number(now.requestsPerS, 1)} requests/s`,
  },
];

class Tile {
  constructor(wanted) {
    this.wanted = wanted;
    this.big = make("p", { class: "big" });
    this.under = make("p", { class: "under" });
    this.chart = new Chart(wanted.lines, wanted.zero, () => this.write());
    this.element = make("article", { class: wanted.wide ? "tile wide" : "tile" },
      make("h2", {}, wanted.title), this.big, this.under, this.chart.element);
  }

  add(now) {
    this.now = now;
    this.chart.add(now);
  }

  // The newest figures, or those under the pointer.
  write() {
    const shown = this.chart.cursor ?? this.now;
    if (!shown) return;
    const { lines: [first, ...others], unit, missing, under } = this.wanted;
    const none = this.wanted.lines.every((line) => line.read(shown) == null);
    this.element.classList.toggle("missing", none);
    this.big.replaceChildren(...(none ? [ABSENT] : figure(first, shown, unit, others.length)));
    const ago = this.chart.cursor ? `${duration(this.now.at - shown.at)} ago` : null;
    const text = ago ?? (none ? missing(shown) : under?.(shown) ?? "");
    const beside = none ? [] : others.flatMap((line) => figure(line, shown, "", true));
    if (beside.length && text) beside.push(" · ");
    this.under.replaceChildren(...beside, text);
    this.chart.element.setAttribute("aria-label", `${this.wanted.title}: `
      + this.wanted.lines.map((line) => `${line.name} ${shownAs(line, shown)}`).join(", "));
  }
}

function shownAs(line, figures) {
  const value = line.read(figures);
  return value == null ? ABSENT : line.format(value);
}

// With a sample of the line's colour where there are several.
function figure(line, shown, unit, several) {
  const text = shownAs(line, shown);
  if (!several) return [text, make("small", {}, unit ?? "")];
  return [make("span", { class: `key ${line.style}` }), text, make("small", {}, ` ${line.name}`)];
}

// What a person should look at: every error that a part posted, and what this page itself sees.
function alertsOf(status, ready, model) {
  const found = Object.entries(ready.missing ?? {}).map(([part, reason]) => [`not ready: ${part}`, reason]);
  for (const [part, figures] of Object.entries(status)) {
    if (figures.error) found.push([part, figures.error]);
    for (const [what, reason] of Object.entries(figures.health ?? {})) found.push([`${part}: ${what}`, reason]);
    found.push(...toldBy(part, figures.alerts));
    for (const one of (figures.quarantined ?? []).slice(-1)) found.push([`${part} quarantined`, one]);
    if (figures.store_error) found.push([`${part}: online store`, figures.store_error]);
    if (figures.model?.error) found.push([`${part}: learner`, figures.model.error]);
  }
  if (model.learner_error && !status.replica?.model?.error) found.push(["learner", model.learner_error]);
  return found;
}

// How often a part told of each kind since it started, and what it said last.
function toldBy(part, alerts) {
  return Object.entries(alerts?.by_kind ?? {}).map(([kind, times]) => {
    const last = (alerts.newest ?? []).filter((one) => one.kind === kind).at(-1);
    return [`${part}: ${kind.replaceAll("_", " ")}`, `${number(times)} since it started`
      + (last ? `; told last at ${new Date(last.at_ms).toLocaleTimeString()}: ${last.message}` : "")];
  });
}
