// Choose an entity, send events, and watch its features and scores.

const SHOWN_AT_FIRST = 10;
const MOST_REASONS = 8;

class EntityPage {
  constructor(pipeline) {
    this.pipeline = pipeline;
    this.names = Object.keys(pipeline.candidate);
    this.samples = pipeline.samples ?? {};
    this.candidates = this.samples.candidates ?? [];
    this.values = {};
    this.before = null;
    this.touched = null;
    this.why = null;
    this.all = false;
    this.refreshes = 0;
    this.recommended = new Recommended(pipeline, this);
    this.history = new EntityHistory(pipeline);
  }

  start() {
    const { entity } = this.pipeline;
    document.querySelectorAll(".entity").forEach((element) => { element.textContent = entity; });
    const entities = (this.samples.entities ?? []).map(String);
    byId("ids").append(...entities.map((id) => make("option", { value: id })));
    byId("suggested").append(...entities.slice(0, 8).map((id) =>
      make("button", { type: "button", onclick: () => this.choose(id) }, id)));
    byId("choose").addEventListener("submit", () => this.choose(byId("id").value.trim()));
    byId("candidates").value = "[\n" + this.candidates.map((candidate) => "  " + JSON.stringify(candidate)).join(",\n") + "\n]";
    byId("use").addEventListener("click", () => this.useCandidates());
    byId("more").addEventListener("click", () => { this.all = !this.all; this.drawRanking(); });
    byId("impress").addEventListener("click", () => this.guarded(() => this.impress()));
    this.drawForm();
    this.recommended.start();
    const typed = byId("id").value.trim();
    if (typed || entities.length) this.choose(typed || entities[0]);
    else byId("features-note").textContent = `give the id of a ${entity}`;
  }

  async choose(id) {
    if (!id) return;
    this.id = byId("id").value = id;
    this.before = this.touched = this.why = this.features = null;
    for (const button of byId("suggested").children) {
      button.setAttribute("aria-pressed", button.textContent === id);
    }
    this.history.refresh(id);
    await this.guarded(() => this.refresh());
  }

  // Run an action of the user, and show its error.
  async guarded(action) {
    const problem = byId("problem");
    problem.hidden = true;
    try {
      await action();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  async refresh() {
    const number = ++this.refreshes;
    const [features, scores, explained] = await Promise.all(
      [this.readFeatures(), this.score(0), this.explained()]);
    if (number !== this.refreshes) return; // a later refresh was faster
    this.drawFeatures(features);
    this.reasons = explained;
    if (scores) {
      this.scores = scores;
      this.drawRanking();
    }
    this.recommended.refresh(this.id);
  }

  readFeatures() {
    const path = [this.pipeline.entity, this.id].map(encodeURIComponent).join("/");
    return ask(`v1/features/${path}`);
  }

  // With `show` 0 no impression is logged.
  async score(show) {
    if (!this.candidates.length) return null;
    return ask("v1/score", { [this.pipeline.entity]: this.id, candidates: this.candidates, show });
  }

  // What the score of the candidate that `why` names is made of.
  async explained() {
    if (this.why === null) return null;
    const { candidates: [one] } = await ask("v1/explain",
      { [this.pipeline.entity]: this.id, candidates: [this.candidates[this.why]] });
    return one.contributions.slice(0, MOST_REASONS);
  }

  async explain(index) {
    this.why = this.why === index ? null : index;
    this.reasons = await this.explained();
    this.drawRanking();
  }

  async impress() {
    const show = Math.min(SHOWN_AT_FIRST, this.candidates.length);
    this.scores = await this.score(show);
    this.drawRanking();
    log(make("li", {}, make("p", {}, `The best ${show} were logged as shown to ${this.id}`),
      make("p", { class: "note" }, `request ${this.scores.request_id}, version ${this.scores.model.version}`)));
  }

  useCandidates() {
    this.guarded(async () => {
      let given;
      try {
        given = JSON.parse(byId("candidates").value);
      } catch (error) {
        throw new Error(`candidates: not JSON (${error.message})`);
      }
      if (!Array.isArray(given) || !given.length) throw new Error("candidates: a list is needed");
      this.candidates = given;
      this.before = this.touched = this.why = null;
      if (this.id) await this.refresh();
    });
  }

  drawFeatures(answer) {
    const previous = this.features;
    this.features = answer.features;
    const age = answer.age_ms == null ? "no event known" : `last event ${duration(answer.age_ms)} ago`;
    byId("features-note").textContent = answer.source === "online" || answer.event_time_ms == null
      ? age : `${age}, from ${answer.source.replace("_", " ")} row`;
    const rows = Object.entries(answer.features).flatMap(([name, value]) => {
      const changed = previous && !changesByTime(previous[name], value) ? "changed" : null;
      if (!Array.isArray(value)) return [make("dt", {}, name), make("dd", { class: changed }, plain(value))];
      const bag = value.map((item) => make("span", item.hash_of ? { title: `the hash of a ${item.hash_of}` } : {}, item.hash_of ? `#${item.id}` : String(item.value), " ",
        make("small", {}, item.weight === 1 ? "" : number(item.weight, 2))));
      return [make("dt", { class: "bag" }, name),
        make("dd", { class: `bag ${changed ?? ""}` }, ...(bag.length ? bag : ["none"]))];
    });
    byId("features").replaceChildren(...rows);
  }

  drawRanking() {
    const { scores, ranking, model, features } = this.scores;
    const best = Math.max(...scores, 1e-9);
    // The candidate of the last event stays in the list at any rank.
    const shown = ranking.map((index, place) => ({ index, place }))
      .filter(({ index, place }) => this.all || place < SHOWN_AT_FIRST || index === this.touched);
    redraw(byId("ranking"), shown.map(({ index, place }) => this.row(index, place, best)));
    const more = byId("more");
    more.hidden = ranking.length <= SHOWN_AT_FIRST;
    more.textContent = this.all ? `Show the best ${SHOWN_AT_FIRST}` : `Show all ${ranking.length}`;
    byId("impress").hidden = false;
    byId("impress").textContent = `Log the best ${Math.min(SHOWN_AT_FIRST, ranking.length)} as shown`;
    byId("ranking-note").textContent = model.version === null
      ? "No weights yet: these are the scores of an untrained model."
      : `Scores of version ${model.version}, ${model.age_ms == null ? "pinned" : `${duration(model.age_ms)} old`}; `
        + `features ${features.age_ms == null ? "are defaults" : `${duration(features.age_ms)} old`}.`
        + armsOf(this.scores)
        + (this.before ? " Changes: since before your event, with what the weights learned meanwhile." : "");
  }

  row(index, place, best) {
    const candidate = this.candidates[index];
    const score = this.scores.scores[index];
    const fill = make("i");
    fill.style.transform = `scaleX(${Math.max(0.004, score / best)})`;
    const [first, ...others] = this.names.map((name) => `${name} ${candidate[name]}`);
    return make("li", { class: index === this.touched ? "touched" : null },
      make("span", { class: "place" }, String(place + 1)),
      make("button", { type: "button", class: "item", "data-key": `why ${index}`,
        "aria-expanded": String(index === this.why), title: "What the score is made of",
        onclick: () => this.guarded(() => this.explain(index)) }, first ?? `candidate ${index}`, " ",
        make("small", {}, others.join(" · "))),
      make("span", { class: "bar" }, fill),
      make("span", { class: "score" }, number(score, 4)),
      this.moved(index, place, score),
      make("button", { type: "button", title: "Send this event for this candidate",
        "data-key": `send ${index}`,
        onclick: () => this.guarded(() => this.sendCandidate(index)) }, this.verb()),
      index === this.why && this.reasons
        ? contributions(this.reasons, scaleOf([this.reasons])) : null);
  }

  moved(index, place, score) {
    if (!this.before) return make("span", { class: "moved" });
    const by = score - this.before.scores[index];
    const places = this.before.ranking.indexOf(index) - place;
    if (Math.abs(by) < 0.00005 && !places) return make("span", { class: "moved note" }, "=");
    const jump = places ? ` ${places > 0 ? "▲" : "▼"}${Math.abs(places)}` : "";
    return make("span", { class: `moved ${by >= 0 ? "up" : "down"}` },
      `${by >= 0 ? "+" : "−"}${number(Math.abs(by), 4)}${jump}`);
  }

  // The fields of an event that the user fills: not those of entity, candidate, id and time.
  fields() {
    const filled = new Set([...Object.values(this.samples.automatic ?? {}), ...this.names]);
    const { properties = {}, required = [] } = this.pipeline.event_schema;
    return Object.entries(properties).filter(([name]) => !filled.has(name))
      .map(([name, kind]) => ({ name, kind, needed: required.includes(name) }));
  }

  drawForm() {
    byId("event").append(...this.fields().map(({ name, kind, needed }) => {
      const choices = kind.enum ?? this.samples.choices?.[name];
      this.values[name] = this.samples.event?.[name] ?? choices?.[0] ?? kind.default
        ?? initialValue(kind, needed);
      return make("div", {}, make("span", { class: "name" }, name),
        choices ? this.chips(name, choices) : valueInput(this.values, name, kind));
    }));
  }

  chips(name, known) {
    const buttons = known.map((value) => make("button", { type: "button", onclick: () => {
      this.values[name] = value;
      mark();
      if (this.scores) this.drawRanking();
      this.recommended.drawAgain();
    } }, String(value)));
    const mark = () => buttons.forEach((button) =>
      button.setAttribute("aria-pressed", button.textContent === String(this.values[name])));
    mark();
    this.verbField ??= name;
    return make("div", { class: "chips", role: "group", "aria-label": name }, ...buttons);
  }

  verb() {
    return this.verbField ? String(this.values[this.verbField]) : "send";
  }

  async sendCandidate(index) {
    if (this.scores) this.before = this.scores;
    this.touched = index;
    const candidate = this.candidates[index];
    const what = this.names.slice(0, 1).map((name) => `${name} ${candidate[name]}`).join("");
    await this.send(candidate, what, index);
  }

  // An event has the values of the form, and those of what it is about in `fields`.
  async send(fields, what, index = null) {
    const { key, id, time } = this.samples.automatic;
    const { properties } = this.pipeline.event_schema;
    const whole = (name) => typesOf(properties[name]).includes("integer");
    const event = { ...this.values, ...fields,
      [id]: whole(id) ? Date.now() * 1000 + Math.floor(Math.random() * 1000)
        : `page-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`,
      [key]: whole(key) ? Number(this.id) : this.id, [time]: timeOfNow(this.samples.time_unit) };
    const path = `v1/events?stream=${encodeURIComponent(this.pipeline.streams[0])}`;
    const begun = performance.now();
    const { positions: [place] } = await ask(path, event);
    const sent = new SentEvent(this, this.verb(), what, index, begun, place);
    sent.add(performance.now() - begun, `in the topic: partition ${place.partition}, offset ${place.offset}`);
    await Promise.all([sent.followFeatures(), sent.followWeights()]);
  }
}

// The event time of this moment: an integer in the stream's unit, or a text.
function timeOfNow(unit) {
  if (unit === null) return new Date().toISOString();
  return Math.floor(Date.now() * ({ s: 0.001, us: 1e3, ns: 1e6 }[unit] ?? 1));
}

// Whether a value can have changed without an event: windows move and ages grow.
function changesByTime(previous, value) {
  if (Array.isArray(value)) {
    const ids = (bag) => JSON.stringify((bag ?? []).map((item) => item.id));
    return ids(previous) === ids(value)
      && value.every((item, place) => item.weight <= previous[place].weight);
  }
  return previous === value || (previous != null && value > previous && !Number.isInteger(value));
}

// The types that a JSON schema allows: that of a value that may be null stands beside it.
const typesOf = (kind) => (kind.anyOf ?? [kind]).map(({ type }) => type);
const isNumeric = (kind) => typesOf(kind).some((type) => type === "number" || type === "integer");

// What sets the value of a name in `values`; one that is left empty is not given.
function valueInput(values, name, kind) {
  if (typesOf(kind).includes("boolean")) {
    return make("input", { type: "checkbox", "aria-label": name, checked: values[name] ? "" : null,
      onchange: (event) => { values[name] = event.target.checked; } });
  }
  const numeric = isNumeric(kind);
  return make("input", { type: numeric ? "number" : "text", step: "any", "aria-label": name,
    value: values[name] ?? "", oninput: (event) => {
      const text = event.target.value;
      values[name] = text === "" ? undefined : numeric ? Number(text) : text;
    } });
}

function initialValue(kind, needed) {
  if (!needed) return undefined;
  return isNumeric(kind) ? 0 : typesOf(kind).includes("boolean") ? false : "";
}
