// From the statuses of all parts to the metrics of one moment.

// The buckets of a LatencyHistogram: the lower bound of the first, and the ratio of two bounds.
const FIRST_BUCKET_MS = 0.01;
const BUCKET_RATIO = 1.04;

const bucketMs = (bucket) => FIRST_BUCKET_MS * BUCKET_RATIO ** (bucket + 0.5);

// The statuses of all parts of a role: of `shard`, those of shard-0, shard-1 and so on.
const ofRole = (status, role) => Object.entries(status)
  .filter(([part]) => part === role || part.startsWith(`${role}-`)).map(([, posted]) => posted);

function sum(parts, read) {
  const values = parts.map(read).filter((value) => typeof value === "number");
  return values.length ? values.reduce((total, value) => total + value, 0) : null;
}

// The counts of several histograms by bucket, the lowest first.
function merged(histograms) {
  const counts = new Map();
  for (const [bucket, count] of histograms.flatMap((histogram) => histogram?.buckets ?? [])) {
    counts.set(bucket, (counts.get(bucket) ?? 0) + count);
  }
  return [...counts].sort(([a], [b]) => a - b);
}

function quantile(counts, share) {
  let rank = Math.ceil(share * counts.reduce((total, [, count]) => total + count, 0));
  if (!rank) return null;
  for (const [bucket, count] of counts) {
    rank -= count;
    if (rank <= 0) return bucketMs(bucket);
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

const rates = new Map();

function rate(name, ms, count) {
  if (!rates.has(name)) rates.set(name, new Rate());
  return rates.get(name).at(ms, count);
}

// A version is "epoch.step": the step tells how often the weights were changed, the epoch which
// start of the learner did it.
function versionOf(text) {
  const [epoch, step] = String(text ?? "").split(".").map(Number);
  return Number.isFinite(step) ? { epoch, step } : null;
}

// What a constant prediction of the base rate loses.
function entropy(rate) {
  if (rate == null || rate <= 0 || rate >= 1) return null;
  return -rate * Math.log(rate) - (1 - rate) * Math.log(1 - rate);
}

// What a constant prediction of the most frequent class gets right.
function largestShare(classes) {
  const supports = (classes ?? []).map((one) => one.support);
  const all = supports.reduce((sum, one) => sum + one, 0);
  return all ? Math.max(...supports) / all : null;
}

// The rates on the edges of the drawn flow, and the sizes of its parts.
function flowOf(status, at, shards, learner, replicas) {
  const named = ofRole(status, "entity");
  const all = [...shards, ...named];
  return {
    rows: rate("rows", at, sum(all, (part) => part.rows_written)),
    impressions: rate("impressions", at, sum(shards, (part) => part.impressions)),
    versions: rate("versions", at, learner?.steps ?? null),
    entities: sum(shards, (part) => part.entities), named: named.length,
    replicas: replicas.length,
    items: replicas.map((part) => part.catalogue?.items).find((items) => items != null) ?? null,
  };
}

// The arms of all experiments, each with the version that it is pinned to, null where it is live; and
// undefined while replicas differ, of which some are updated before the others.
function pinnedArms(replicas) {
  const listed = replicas.map((part) => part.experiments ?? []);
  return (listed[0] ?? []).map(({ experiment, arm, pinned }) => {
    const same = listed.every((arms) => arms.some((one) =>
      one.experiment === experiment && one.arm === arm && one.pinned === pinned));
    return { name: `${experiment} ${arm}`, version: same ? pinned : undefined };
  });
}

// `status` is the answer of /v1/status, `model` that of /v1/model; `at` is in milliseconds.
function metricsOf(status, model, at) {
  const shards = ofRole(status, "shard");
  const replicas = ofRole(status, "replica");
  const learner = ofRole(status, "learner")[0] ?? null;
  const features = merged(shards.map((shard) => shard.freshness));
  const weights = merged([learner?.freshness]);
  const answers = merged(replicas.flatMap((part) => [part.latency, part.recommendations?.latency]));
  const starting = shards.filter((shard) => shard.starting).length;
  const events = starting ? null : sum(shards, (shard) => shard.events);
  const answered = sum(replicas, (part) => part.requests + (part.recommendations?.requests ?? 0));
  // The AUC, the accuracy of classes, the mean reciprocal rank of slates, or the mean absolute
  // error where labels are numbers.
  const measure = learner?.measure ?? "auc";
  const of = (examples) => learner?.[measure + examples] ?? null;
  return {
    at, shards: shards.length, starting, learner: learner !== null,
    events, eventsPerS: rate("events", at, events),
    lag: sum(shards, (shard) => shard.lag_total), late: sum(shards, (shard) => shard.late),
    dead: sum(shards, (shard) => shard.dead),
    features, feature50: quantile(features, 0.5), feature99: quantile(features, 0.99),
    weights, weights50: quantile(weights, 0.5), weights99: quantile(weights, 0.99),
    version: model.version, arms: pinnedArms(replicas), modelAge: model.age_ms, learned: versionOf(learner?.version)?.step ?? null,
    served: versionOf(model.version)?.step ?? null,
    examplesPerS: rate("examples", at, learner?.examples ?? null),
    measure, live: of("_recent"), frozen: of("_recent_frozen"),
    base: of("_recent") === null ? null : measure === "auc" ? 0.5
      : learner.random_reciprocal_rank ?? largestShare(learner.classes),
    allLive: of("_live"), allFrozen: of("_frozen"),
    compared: learner?.compared ?? null, examples: learner?.examples ?? null,
    logLoss: learner?.log_loss_recent ?? null, baseLoss: entropy(learner?.base_rate),
    calibration: learner?.calibration_error_live ?? learner?.calibration_error ?? null,
    calibrationFrozen: learner?.calibration_error_frozen ?? null,
    baseRate: learner?.base_rate ?? null, trips: learner?.guard_trips ?? null,
    heldBack: learner?.examples_held_back ?? null,
    answersPerS: rate("answers", at, answered),
    answers, answer50: quantile(answers, 0.5), answer99: quantile(answers, 0.99),
    flow: flowOf(status, at, shards, learner, replicas),
  };
}
