// The loops of the page while it is visible: metrics and the chosen entity every second.

const METRICS_MS = 1000;
const ENTITY_MS = 1000;

const tiles = TILES.map((spec) => new Tile(spec));
const system = new SystemView();
byId("tiles").append(...tiles.map((tile) => tile.element));
let answeredAt = null;
let shownAlerts = "[]";

// Alerts and state are live regions: what is written to them is read aloud, so only changes are.
function showAlerts(found) {
  const text = JSON.stringify(found);
  if (text === shownAlerts) return;
  shownAlerts = text;
  const box = byId("alerts");
  box.hidden = !found.length;
  box.replaceChildren(...found.map(([source, reason]) =>
    make("p", {}, make("b", {}, source), String(reason))));
}

function showState(text, style) {
  const pill = byId("state");
  if (pill.textContent === text) return;
  pill.textContent = text;
  pill.className = `pill ${style}`;
}

async function pollMetrics() {
  try {
    const [status, model, ready] = await Promise.all([ask("v1/status"), ask("v1/model"), ask("readyz")]);
    const now = metricsOf(status, model, Date.now());
    tiles.forEach((tile) => tile.add(now));
    system.add(now, status);
    showAlerts(alertsOf(status, ready, model));
    showState(ready.ready ? "ready" : "not ready", ready.ready ? "good" : "bad");
    answeredAt = now.at;
    document.body.classList.remove("stale");
  } catch (error) {
    document.body.classList.add("stale");
    showState("no connection", "bad");
    showAlerts([["this page", `the server ${error.message}`
      + (answeredAt ? `; the metrics are ${duration(Date.now() - answeredAt)} old` : "")]]);
  }
  byId("as-of").textContent = answeredAt ? `as of ${new Date(answeredAt).toLocaleTimeString()}` : "";
}

async function repeat(pause, action) {
  for (;;) {
    if (!document.hidden) await action();
    await sleep(pause);
  }
}

async function startEntity() {
  for (;;) {
    try {
      const pipeline = await ask("v1/pipeline");
      byId("pipeline").textContent = pipeline.pipeline;
      system.flow.names = pipeline.streams.join(", ");
      document.title = `Freshrank: ${pipeline.pipeline}`;
      const page = new EntityPage(pipeline);
      page.start();
      return page;
    } catch (error) {
      byId("features-note").textContent = `the pipeline's description: ${error.message}`;
      await sleep(ENTITY_MS);
    }
  }
}

// No form loads another document, also before what it is for is known.
document.addEventListener("submit", (event) => event.preventDefault());

byId("key-form").addEventListener("submit", () => {
  apiKey = byId("key").value.trim();
  byId("key-form").hidden = true;
});

repeat(METRICS_MS, pollMetrics);
startEntity().then((page) => repeat(ENTITY_MS, async () => {
  // A failed poll leaves everything as it is: the next one follows.
  if (page.id) await page.refresh().catch(() => {});
}));
