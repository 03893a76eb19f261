// What is recommended to the chosen entity, of a pipeline that has a catalogue.

const RECOMMENDED = 10;

class Recommended {
  constructor(pipeline) {
    this.entity = pipeline.entity;
    this.catalogue = pipeline.catalogue;
  }

  start() {
    byId("recommendations").hidden = !this.catalogue;
  }

  // Never fails: a problem is told in the section. With `show` 0 no impression is logged.
  async refresh(id) {
    if (!this.catalogue) return;
    if (this.id !== id) byId("recommended").replaceChildren();
    this.id = id;
    try {
      const answer = await ask("v1/recommend", { [this.entity]: id, k: RECOMMENDED, show: 0 });
      if (this.id === id) this.draw(answer);
    } catch (error) {
      byId("recommended-note").textContent = error.message;
    }
  }

  draw({ items, candidates, notes }) {
    byId("recommended-note").textContent = [
      `The best ${items.length} of ${number(candidates)} candidates, without what it has seen.`,
      ...notes.map(({ reason }) => `Note: ${reason}.`)].join(" ");
    byId("recommended").replaceChildren(...items.map((item, place) => this.row(item, place)));
  }

  row({ id, score, fields, sources }, place) {
    const known = Object.entries(fields).filter(([, value]) => value !== null && value !== id)
      .map(([name, value]) => `${name} ${plain(value)}`);
    const found = sources.map(({ name, because }) =>
      because.length ? `${name} (because of ${because.slice(0, 3).join(", ")})` : name);
    return make("li", {},
      make("span", { class: "place" }, String(place + 1)),
      make("span", { class: "item" }, `${this.catalogue.entity} ${id}`),
      make("small", {}, known.join(" · ")),
      make("small", {}, found.length ? `found by ${found.join(", ")}` : ""),
      make("span", { class: "score" }, number(score, 4)));
  }
}
