// What is recommended to the chosen entity, of a pipeline that has a catalogue.

const RECOMMENDED = 8;
const REASONS = 3;

class Recommended {
  constructor(pipeline, page) {
    this.entity = pipeline.entity;
    this.catalogue = pipeline.catalogue;
    this.known = pipeline.event_schema.properties ?? {};
    this.page = page;
    this.context = {};
  }

  start() {
    byId("recommendations").hidden = byId("sources-card").hidden = !this.catalogue;
    if (this.catalogue) this.drawContext();
  }

  // What a request has to say of itself: at first as in a sample candidate.
  drawContext() {
    const { properties, required } = this.catalogue.context;
    const [sample] = this.page.candidates;
    byId("context").hidden = !Object.keys(properties).length;
    byId("context").append(...Object.entries(properties).map(([name, kind]) => {
      this.context[name] = sample?.[name] ?? kind.enum?.[0] ?? kind.default
        ?? initialValue(kind, required.includes(name));
      return make("div", {}, make("span", { class: "name" }, name),
        valueInput(this.context, name, kind));
    }));
    byId("context").addEventListener("change", () => { if (this.id) this.refresh(this.id); });
  }

  // Never fails: a problem is told in the section. With `show` 0 no impression is logged.
  async refresh(id) {
    if (!this.catalogue) return;
    if (this.id !== id) {
      byId("recommended").replaceChildren();
      this.answer = null;
      this.explain = REASONS;
    }
    this.id = id;
    try {
      const answer = await this.ask(id);
      if (this.id === id) this.draw(answer);
    } catch (error) {
      byId("recommended-note").textContent = error.message;
    }
  }

  // Without reasons until another id is chosen, where they are what cannot be had.
  async ask(id) {
    const context = Object.keys(this.context).length ? { context: this.context } : {};
    const request = { [this.entity]: id, ...context, k: RECOMMENDED, show: 0 };
    if (!this.explain) return ask("v1/recommend", request);
    try {
      return await ask("v1/recommend", { ...request, explain: this.explain });
    } catch {
      const answer = await ask("v1/recommend", request);
      this.explain = 0;
      return answer;
    }
  }

  drawAgain() {
    if (this.answer) this.draw(this.answer);
  }

  draw(answer) {
    this.answer = answer;
    const { items, candidates, notes, found } = answer;
    byId("sources-note").textContent = `${number(candidates)} ranked for ${this.entity} ${this.id}`;
    byId("sources").replaceChildren(...sourceRows(found, candidates));
    byId("recommended-note").textContent = [
      `The best ${items.length} of ${number(candidates)} candidates, without what it has seen.`
      + armsOf(answer),
      ...notes.map(({ reason }) => `Note: ${reason}.`)].join(" ");
    const scale = scaleOf(items.map(({ reasons }) => reasons ?? []));
    redraw(byId("recommended"), items.map((item, place) => this.row(item, place, scale)));
  }

  row({ id, score, fields, sources, reasons }, place, scale) {
    const known = Object.entries(fields).filter(([, value]) => value !== null && value !== id)
      .map(([name, value]) => `${name} ${plain(value)}`);
    const found = sources.map(({ name, because }) =>
      because.length ? `${name} (because of ${because.slice(0, 3).join(", ")})` : name);
    const name = `${this.catalogue.entity} ${id}`;
    return make("li", {},
      make("span", { class: "place" }, String(place + 1)),
      make("span", { class: "item" }, name),
      make("span", { class: "known" },
        make("small", {}, known.join(" · ")),
        make("small", {}, ...(found.length ? breakable(`found by ${found.join(", ")}`) : []))),
      contributions(reasons ?? [], scale),
      make("span", { class: "score" }, number(score, 4)),
      make("button", { type: "button", "data-key": `send ${id}`, title: "Send this event for this item",
        onclick: () => this.page.guarded(() => this.page.send(this.eventFields(fields), name)) },
      this.page.verb()));
  }

  // What the catalogue knows of an item, as far as events have fields of the same names.
  eventFields(fields) {
    return Object.fromEntries(Object.entries(fields)
      .filter(([name, value]) => value !== null && name in this.known));
  }
}
