// The pipeline as a drawn flow: from topics to answer, with live rates on its edges.

const SVG = "http://www.w3.org/2000/svg";

function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

const perS = (value) => value == null ? ABSENT : `${number(value, value < 10 ? 1 : 0)}/s`;

// Where the middle of each box lies, and the size of all: on a wide page and on a narrow one.
const WIDE = {
  width: 1280, height: 232, box: [156, 54],
  topics: [82, 95], shards: [372, 95], store: [660, 32], learner: [660, 158],
  replicas: [932, 95], answers: [1200, 95],
  back: { d: "M932 122C932 232 800 218 660 218S82 232 82 122", text: [660, 223] },
};
const NARROW = {
  width: 400, height: 500, box: [136, 52],
  topics: [180, 30], shards: [180, 142], store: [78, 254], learner: [282, 254],
  replicas: [180, 366], answers: [180, 470],
  back: { d: "M248 366C404 366 386 300 386 198S404 30 248 30", text: [316, 88] },
};

// The boxes: a title, and a line below it of what they hold.
const BOXES = {
  topics: ["Topics", (now, names) => names],
  shards: ["Feature shards", (now) => `${several(now.shards, "shard")}, ${number(now.flow.entities)} rows`],
  store: ["Online store", (now) => now.flow.named ? "rows and items" : "rows"],
  learner: ["Learner", (now) => `version ${now.version ?? ABSENT}`],
  replicas: ["Replicas", (now) => now.flow.items == null ? several(now.flow.replicas, "replica")
    : `${number(now.flow.replicas)}, ${several(now.flow.items, "item")}`],
  answers: ["Answers", (now) => now.answer50 == null ? "none lately" : `p50 ${duration(now.answer50)}`],
};

const EDGES = [
  { from: "topics", to: "shards", name: "events", read: (now) => now.eventsPerS },
  { from: "shards", to: "store", name: "rows", read: (now) => now.flow.rows },
  { from: "shards", to: "learner", name: "examples", read: (now) => now.examplesPerS },
  { from: "store", to: "replicas", name: "reads", read: (now) => now.answersPerS },
  { from: "learner", to: "replicas", name: "versions", read: (now) => now.flow.versions },
  { from: "replicas", to: "answers", name: "answers", read: (now) => now.answersPerS },
  // What was shown comes back as a record, to be joined with what the user did.
  { from: "replicas", to: "topics", name: "impressions", read: (now) => now.flow.impressions },
];

class Flow {
  constructor(element) {
    this.element = element;
    this.names = "";
    new ResizeObserver(() => this.paint()).observe(element);
  }

  add(now) {
    this.now = now;
    this.element.setAttribute("aria-label", "The pipeline. " + EDGES.map(({ from, to, name, read }) =>
      `${BOXES[from][0]} to ${BOXES[to][0]}: ${name} ${perS(read(now))}`).join(". "));
    this.paint();
  }

  paint() {
    const { now, element: { clientWidth: width } } = this;
    if (!now || !width) return;
    const layout = width < 720 ? NARROW : WIDE;
    if (layout !== this.layout) this.lay(layout);
    for (const [name, [, read]] of Object.entries(BOXES)) this.lines[name].textContent = read(now, this.names);
    for (const { from, to, read, name } of EDGES) {
      const { path, text } = this.edges[from + to];
      const value = read(now);
      text.textContent = `${name} ${perS(value)}`;
      path.setAttribute("class", value > 0 ? "edge flowing" : "edge");
      path.setAttribute("stroke-width", (1.5 + Math.log10(1 + (value ?? 0))).toFixed(1));
    }
  }

  lay(layout) {
    this.layout = layout;
    this.lines = {};
    this.edges = {};
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${layout.width} ${layout.height}`);
    for (const edge of EDGES) this.layEdge(svg, layout, edge);
    const [width, height] = layout.box;
    for (const [name, [title]] of Object.entries(BOXES)) {
      const [x, y] = layout[name];
      draw(svg, "rect", { class: "box", x: x - width / 2, y: y - height / 2, width, height, rx: 10 });
      draw(svg, "text", { class: "title", x, y: y - 4 }, title);
      this.lines[name] = draw(svg, "text", { x, y: y + 15 }, "");
    }
    this.element.replaceChildren(svg);
  }

  // An edge leaves and enters boxes at the sides that the layout runs along.
  layEdge(svg, layout, { from, to }) {
    if (to === "topics") {
      const { d, text: [x, y] } = layout.back;
      this.edges[from + to] = { path: draw(svg, "path", { class: "edge", d }),
        text: draw(svg, "text", { class: "rate", x, y }) };
      return;
    }
    const along = layout === WIDE ? 0 : 1;
    const half = layout.box[along] / 2;
    const [start, end] = [[...layout[from]], [...layout[to]]];
    start[along] += half;
    end[along] -= half;
    const middle = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
    const [first, second] = [[...start], [...end]];
    first[along] = second[along] = middle[along];
    const path = draw(svg, "path", { class: "edge", d: `M${start}C${first} ${second} ${end}` });
    const text = draw(svg, "text", { class: "rate", x: middle[0], y: middle[1] + (along ? 4 : -8) });
    this.edges[from + to] = { path, text };
  }
}
