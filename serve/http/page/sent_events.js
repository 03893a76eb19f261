// The log of the events that were sent from this page, and how far each has come.

const LONGEST_WAIT_MS = 20_000;

function log(entry) {
  const list = byId("log");
  if (list.querySelector("li.note")) list.replaceChildren();
  list.prepend(entry);
  while (list.children.length > 12) list.lastChild.remove();
}

// One sent event in the log; `index` is that of the candidate it is about, if it is one.
class SentEvent {
  constructor(page, verb, what, index, begun, place) {
    Object.assign(this, { page, index, begun, place, id: page.id });
    this.element = make("li", {}, make("p", {}, make("b", {}, verb), ` ${what} by ${this.id}`));
    log(this.element);
  }

  add(elapsed, text) {
    const step = make("p", { class: "step" }, make("b", {}, elapsed == null ? ABSENT : duration(elapsed)),
      make("span", {}, text));
    this.element.append(step);
    return step;
  }

  // Poll until `read` gives something; undefined after LONGEST_WAIT_MS.
  async poll(pause, read) {
    while (performance.now() - this.begun < LONGEST_WAIT_MS) {
      const found = await read();
      if (found) return found;
      await sleep(pause);
    }
    return undefined;
  }

  async followFeatures() {
    const found = await this.poll(15, async () => {
      const answer = await this.page.readFeatures();
      return this.page.id !== this.id || (answer.offset ?? -1) >= this.place.offset ? answer : null;
    });
    if (this.page.id !== this.id) return;
    if (!found) {
      this.add(null, `the features do not contain it after ${duration(LONGEST_WAIT_MS)}`);
      return;
    }
    this.add(performance.now() - this.begun, "the features contain it");
    this.page.history.refresh(this.id);
    const before = this.page.before?.scores[this.index];
    await this.page.refresh();
    const after = this.page.scores?.scores[this.index];
    if (before != null && after != null) {
      this.add(performance.now() - this.begun, `its score: ${number(before, 4)} → ${number(after, 4)}`);
    }
  }

  async followWeights() {
    const { partition, topic } = this.place;
    const found = await this.poll(100, async () => {
      const model = await ask("v1/model");
      return (model.applied?.[partition]?.[topic] ?? 0) > this.place.offset ? model : null;
    });
    if (found) this.add(performance.now() - this.begun, `version ${found.version} has learned up to it`);
    else this.add(null, `no version has learned it after ${duration(LONGEST_WAIT_MS)}`);
  }
}
