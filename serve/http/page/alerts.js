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
    return [`${part}: ${words(kind)}`, `${number(times)} since it started`
      + (last ? `; last reported at ${new Date(last.at_ms).toLocaleTimeString()}: ${last.message}` : "")];
  });
}

const words = (name) => name.replaceAll("_", " ");
