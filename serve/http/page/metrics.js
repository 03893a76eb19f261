// From the statuses of all parts to the tiles: metrics, or the reason why one is missing.

// The buckets of a LatencyHistogram: the lower bound of the first, and the ratio of two bounds.
const FIRST_BUCKET_MS = 0.01;
const BUCKET_RATIO = 1.04;

// The statuses of all parts of a role: of `shard`, those of shard-0, shard-1 and so on.
const ofRole = (status, role) => Object.entries(status)
  .filter(([part]) => part === role || part.startsWith(`${role}-`)).map(([, posted]) => posted);

function sum(parts, read) {
  const values = parts.map(read).filter((value) => typeof value === "number");
  return values.length ? values.reduce((total, value) => total + value, 0) : null;
}

function quantile(histograms, share) {
  const counts = new Map();
  for (const [bucket, count] of histograms.flatMap((histogram) => histogram?.buckets ?? [])) {
    counts.set(bucket, (counts.get(bucket) ?? 0) + count);
  }
  let rank = Math.ceil(share * [...counts.values()].reduce((total, count) => total + count, 0));
  if (!rank) return null;
  for (const bucket of [...counts.keys()].sort((a, b) => a - b)) {
    rank -= counts.get(bucket);
    if (rank <= 0) return FIRST_BUCKET_MS * BUCKET_RATIO ** (bucket + 0.5);
  }
  return null;
}

// A rate per second over the last five seconds. Never negative: a restarted part counts on from an
// older snapshot.
class Rate {
  constructor() {
    this.samples = [];
  }

  at(ms, count) {
    if (count === null) return null;
    this.samples.push({ ms, count });
    while (this.samples.length > 2 && this.samples[1].ms <= ms - 5000) this.samples.shift();
    const [first] = this.samples;
    return ms > first.ms ? Math.max(0, (count - first.count) / (ms - first.ms) * 1000) : null;
  }
}

const rates = { events: new Rate(), requests: new Rate(), examples: new Rate() };

// `status` is the answer of /v1/status, `model` that of /v1/model; `at` is in milliseconds.
function metricsOf(status, model, at) {
  const shards = ofRole(status, "shard");
  const replicas = ofRole(status, "replica");
  const learner = ofRole(status, "learner")[0] ?? null;
  const features = shards.map((shard) => shard.freshness);
  const scores = replicas.map((replica) => replica.latency);
  const starting = shards.filter((shard) => shard.starting).length;
  const events = starting ? null : sum(shards, (shard) => shard.events);
  const requests = sum(replicas, (replica) => replica.requests);
  // The AUC, or the mean absolute error where labels are numbers.
  const measure = learner?.measure ?? "auc";
  const of = (examples) => learner?.[measure + examples] ?? null;
  return {
    at, shards: shards.length, starting, learner: learner !== null,
    events, eventsPerS: rates.events.at(at, events),
    lag: sum(shards, (shard) => shard.lag_total), late: sum(shards, (shard) => shard.late),
    dead: sum(shards, (shard) => shard.dead),
    feature50: quantile(features, 0.5), feature99: quantile(features, 0.99),
    weights50: quantile([learner?.freshness], 0.5), weights99: quantile([learner?.freshness], 0.99),
    version: model.version, modelAge: model.age_ms,
    examplesPerS: rates.examples.at(at, learner?.examples ?? null),
    measure, live: of("_recent"), frozen: of("_recent_frozen"),
    allLive: of("_live"), allFrozen: of("_frozen"),
    compared: learner?.compared ?? null, examples: learner?.examples ?? null,
    requestsPerS: rates.requests.at(at, requests),
    score50: quantile(scores, 0.5), score99: quantile(scores, 0.99),
  };
}

const noShard = (now) => now.shards ? "no shard has posted it yet" : "no shard has posted its status";
const noLearner = (now) => now.learner ? "no example was learned lately" : "the learner has not posted its status";
const ms = { format: duration };
const count = { format: (value) => number(value) };
const quality = { format: (value) => number(value, 3) };

// What tells the quality beside the loss, as the learner names it.
const MEASURES = { auc: "AUC", mean_absolute_error: "mean absolute error" };

// `lines` are drawn, and the first is the big number; `under` is the smaller text below it.
// `titleOf` is the title once there are metrics, where that depends on them.
const TILES = [
  {
    title: "Progressive AUC, last 20,000 examples", wide: true, zero: false,
    titleOf: (now) => `Progressive ${MEASURES[now.measure]}, last 20,000 examples`,
    lines: [
      { name: "live", style: "live", read: (now) => now.live, ...quality },
      { name: "frozen", style: "frozen dashed", read: (now) => now.frozen, ...quality },
    ],
    missing: (now) => !now.learner ? "the learner has not posted its status"
      : now.measure === "auc" ? "no example of each label yet" : "no example yet",
    under: (now) => now.allFrozen == null
      ? `${number(now.examples)} examples; no reference is frozen yet`
      : `since the reference was frozen: live ${number(now.allLive, 3)}, `
        + `frozen ${number(now.allFrozen, 3)} over ${number(now.compared)} examples`,
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
    missing: () => "no request was scored lately",
    lines: [
      { name: "p50", style: "live", read: (now) => now.score50, ...ms },
      { name: "p99", style: "second", read: (now) => now.score99, ...ms },
    ],
    under: (now) => `${number(now.requestsPerS, 1)} requests/s`,
  },
];

class Tile {
  constructor(spec) {
    this.spec = spec;
    this.heading = make("h2", {}, spec.title);
    this.big = make("p", { class: "big" });
    this.under = make("p", { class: "under" });
    this.chart = new Chart(spec.lines, spec.zero, () => this.write());
    this.element = make("article", { class: spec.wide ? "tile wide" : "tile" },
      this.heading, this.big, this.under, this.chart.element);
  }

  add(now) {
    this.now = now;
    this.chart.add(now);
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
    const beside = none ? [] : others.flatMap((line) => valueOf(line, shown, "", true));
    if (beside.length && text) beside.push(" · ");
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
  return [make("span", { class: `key ${line.style}` }), text, make("small", {}, ` ${line.name}`)];
}

// What a person should look at: the errors that parts post, and what is missing for readiness.
function alertsOf(status, ready, model) {
  const found = Object.entries(ready.missing ?? {}).map(([part, reason]) => [`not ready: ${part}`, reason]);
  for (const [part, posted] of Object.entries(status)) {
    if (posted.error) found.push([part, posted.error]);
    for (const [what, reason] of Object.entries(posted.health ?? {})) found.push([`${part}: ${what}`, reason]);
    found.push(...alertsByKind(part, posted.alerts));
    for (const range of (posted.quarantined ?? []).slice(-1)) found.push([`${part} quarantined`, range]);
    if (posted.store_error) found.push([`${part}: online store`, posted.store_error]);
    if (posted.model?.error) found.push([`${part}: learner`, posted.model.error]);
  }
  if (model.learner_error && !status.replica?.model?.error) found.push(["learner", model.learner_error]);
  return found;
}

// For each kind: how many alerts a part has raised since it started, and the newest one.
function alertsByKind(part, alerts) {
  return Object.entries(alerts?.by_kind ?? {}).map(([kind, times]) => {
    const last = (alerts.newest ?? []).filter((alert) => alert.kind === kind).at(-1);
    return [`${part}: ${kind.replaceAll("_", " ")}`, `${number(times)} since it started`
      + (last ? `; last reported at ${new Date(last.at_ms).toLocaleTimeString()}: ${last.message}` : "")];
  });
}
