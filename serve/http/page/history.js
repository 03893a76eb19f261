// The last events of the chosen entity, read back from their topics when a person wants to see them.

const LAST_EVENTS = 8;

class EntityHistory {
  constructor(pipeline) {
    this.entity = pipeline.entity;
    this.hidden = new Set(Object.values(pipeline.samples?.automatic ?? {}));
    byId("history").addEventListener("toggle", () => this.refresh(this.id));
  }

  // Never fails: a problem is told in the list. Nothing is read while it is closed.
  async refresh(id) {
    if (this.id !== id) byId("events").replaceChildren();
    this.id = id;
    if (!id || !byId("history").open) return;
    const path = ["v1/entities", encodeURIComponent(this.entity), encodeURIComponent(id), "events"];
    const rows = await ask(`${path.join("/")}?limit=${LAST_EVENTS}`)
      .then(({ events }) => events.map((event) => this.row(event)))
      .catch((error) => [make("li", { class: "note" }, error.message)]);
    if (this.id !== id) return;
    byId("events").replaceChildren(...(rows.length ? rows : [make("li", { class: "note" }, "none was found")]));
  }

  row({ timestamp_ms: at, event }) {
    const fields = Object.entries(event ?? {}).filter(([name]) => !this.hidden.has(name));
    const texts = fields.map(([name, value]) => `${name} ${plain(value)}`);
    return make("li", {}, make("b", {}, new Date(at).toLocaleTimeString()), ` ${texts.join(" · ")}`);
  }
}
