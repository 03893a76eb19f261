// What is recommended to the chosen entity, of a pipeline that has a catalogue.

const RECOMMENDED = 8;
const REASONS = 3;

class Recommended {
  constructor(pipeline) {
    this.entity = pipeline.entity;
    this.catalogue = pipeline.catalogue;
  }

  start() {
    byId("recommendations").hidden = byId("sources-card").hidden = !this.catalogue;
  }

  // Never fails: a problem is told in the section. With `show` 0 no impression is logged.
  async refresh(id) {
    if (!this.catalogue) return;
    if (this.id !== id) byId("recommended").replaceChildren();
    this.id = id;
    try {
      const answer = await ask("v1/recommend", { [this.entity]: id, k: RECOMMENDED,
        show: 0, explain: REASONS });
      if (this.id === id) this.draw(answer);
    } catch (error) {
      byId("recommended-note").textContent = error.message;
    }
  }

  draw({ items, candidates, notes, found }) {
    byId("sources-note").textContent = `${number(candidates)} ranked for ${this.entity} ${this.id}`;
    byId("sources").replaceChildren(...sourceRows(found, candidates));
    const scale = scaleOf(items.map(({ reasons }) => reasons ?? []));
    byId("recommended-note").textContent = [
      `The best ${items.length} of ${number(candidates)} candidates, without what it has seen.`,
      ...notes.map(({ reason }) => `Note: ${reason}.`)].join(" ");
    byId("recommended").replaceChildren(...items.map((item, place) => this.row(item, place, scale)));
  }

  row({ id, score, fields, sources, reasons }, place, scale) {
    const known = Object.entries(fields).filter(([, value]) => value !== null && value !== id)
      .map(([name, value]) => `${name} ${plain(value)}`);
    const found = sources.map(({ name, because }) =>
      because.length ? `${name} (because of ${because.slice(0, 3).join(", ")})` : name);
    return make("li", {},
      make("span", { class: "place" }, String(place + 1)),
      make("span", { class: "item" }, `${this.catalogue.entity} ${id}`,
        make("small", {}, known.join(" · ")),
        make("small", {}, found.length ? `found by ${found.join(", ")}` : "")),
      contributions(reasons ?? [], scale),
      make("span", { class: "score" }, number(score, 4)));
  }
}
