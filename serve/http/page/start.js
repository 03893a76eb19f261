// The loop: figures once a second while somebody looks, the picked entity every two.

const FIGURES_MS = 1000;
const PLAY_MS = 2000;

const tiles = TILES.map((wanted) => new Tile(wanted));
byId("tiles").append(...tiles.map((tile) => tile.element));
let heardAt = null;

function showAlerts(found) {
  const box = byId("alerts");
  box.hidden = !found.length;
  box.replaceChildren(...found.map(([what, reason]) =>
    make("p", {}, make("b", {}, what), String(reason))));
}

function showState(text, style) {
  const pill = byId("state");
  pill.textContent = text;
  pill.className = `pill ${style}`;
}

async function lookAtFigures() {
  try {
    const [status, model, ready] = await Promise.all([ask("v1/status"), ask("v1/model"), ask("readyz")]);
    const now = figuresOf(status, model, Date.now());
    tiles.forEach((tile) => tile.add(now));
    showAlerts(alertsOf(status, ready, model));
    showState(ready.ready ? "ready" : "not ready", ready.ready ? "good" : "bad");
    heardAt = now.at;
    document.body.classList.remove("stale");
  } catch (error) {
    document.body.classList.add("stale");
    showState("no connection", "bad");
    showAlerts([["this page", `the server ${error.message}`
      + (heardAt ? `; figures are ${duration(Date.now() - heardAt)} old` : "")]]);
  }
  byId("heard").textContent = heardAt ? `as of ${new Date(heardAt).toLocaleTimeString()}` : "";
}

async function repeat(pause, action) {
  for (;;) {
    if (!document.hidden) await action();
    await sleep(pause);
  }
}

async function beginPlay() {
  for (;;) {
    try {
      const pipeline = await ask("v1/pipeline");
      byId("pipeline").textContent = pipeline.pipeline;
      document.title = `Freshrank: ${pipeline.pipeline}`;
      const play = new Play(pipeline);
      play.begin();
      return play;
    } catch (error) {
      byId("features-note").textContent = `the pipeline's description: ${error.message}`;
      await sleep(PLAY_MS);
    }
  }
}

repeat(FIGURES_MS, lookAtFigures);
beginPlay().then((play) => repeat(PLAY_MS, async () => {
  // What a person sees must not jump under their hand because of a failed look.
  if (play.id) await play.refresh().catch(() => {});
}));
