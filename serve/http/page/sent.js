// The log of what a person sent, and how far each event has come.

const LONGEST_WAIT_MS = 20_000;

function log(entry) {
  const list = byId("log");
  if (list.querySelector("li.note")) list.replaceChildren();
  list.prepend(entry);
  while (list.children.length > 12) list.lastChild.remove();
}

// One sent event in the log, and how far it has come.
class Note {
  constructor(play, verb, index, begun, place) {
    Object.assign(this, { play, index, begun, place, id: play.id });
    const candidate = play.candidates[index];
    const what = play.names.slice(0, 1).map((name) => `${name} ${candidate[name]}`).join("");
    this.element = make("li", {}, make("p", {}, make("b", {}, verb), ` ${what} by ${this.id}`));
    log(this.element);
  }

  add(passed, text) {
    const step = make("p", { class: "step" }, make("b", {}, passed == null ? ABSENT : duration(passed)),
      make("span", {}, text));
    this.element.append(step);
    return step;
  }

  // Look again and again until `done` answers; undefined when it took too long.
  async until(pause, done) {
    while (performance.now() - this.begun < LONGEST_WAIT_MS) {
      const found = await done();
      if (found) return found;
      await sleep(pause);
    }
    return undefined;
  }

  async followFeatures() {
    const found = await this.until(15, async () => {
      const answer = await this.play.readFeatures();
      return this.play.id !== this.id || (answer.offset ?? -1) >= this.place.offset ? answer : null;
    });
    if (this.play.id !== this.id) return;
    if (!found) {
      this.add(null, `the features do not contain it after ${duration(LONGEST_WAIT_MS)}`);
      return;
    }
    this.add(performance.now() - this.begun, "the features contain it");
    const before = this.play.before?.scores[this.index];
    await this.play.refresh();
    const after = this.play.scores?.scores[this.index];
    if (before != null && after != null) {
      this.add(performance.now() - this.begun, `its score: ${number(before, 4)} → ${number(after, 4)}`);
    }
  }

  async followWeights() {
    const { partition, topic } = this.place;
    const found = await this.until(100, async () => {
      const model = await ask("v1/model");
      return (model.applied?.[partition]?.[topic] ?? 0) > this.place.offset ? model : null;
    });
    if (found) this.add(performance.now() - this.begun, `version ${found.version} has learned up to it`);
    else this.add(null, `no weights that reach it after ${duration(LONGEST_WAIT_MS)}`);
  }
}
