// Elements, numbers and requests, for the other scripts.

const ABSENT = "–";
const PRESSED_MS = 50;
const byId = (id) => document.getElementById(id);

// Children become text, never markup: they may come from the network.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// Give `parent` other children; what had the focus in it keeps it, found again by its `data-key`.
// A button that is replaced while it is pressed is not clicked: then the newest children wait.
const waiting = new Map();
function redraw(parent, children) {
  if (parent.matches(":active")) {
    if (!waiting.has(parent)) setTimeout(drawWaiting, PRESSED_MS, parent);
    waiting.set(parent, children);
    return;
  }
  waiting.delete(parent);
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children);
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function drawWaiting(parent) {
  const children = waiting.get(parent);
  waiting.delete(parent);
  if (children) redraw(parent, children);
}

function number(value, digits = 0) {
  if (value == null || !Number.isFinite(value)) return ABSENT;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// The value of a feature, with three decimals, or one from 100 on.
function plain(value) {
  if (typeof value !== "number") return value == null ? ABSENT : String(value);
  if (Number.isInteger(value)) return number(value);
  return number(value, Math.abs(value) >= 100 ? 1 : 3);
}

function duration(ms) {
  if (ms == null || !Number.isFinite(ms)) return ABSENT;
  if (ms < 10) return `${number(ms, 1)} ms`;
  if (ms < 1000) return `${number(ms)} ms`;
  if (ms < 60_000) return `${number(ms / 1000, ms < 10_000 ? 1 : 0)} s`;
  if (ms < 7_200_000) return `${number(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${number(ms / 3_600_000)} h`;
  return `${number(ms / 86_400_000)} d`;
}

const several = (value, name) => `${number(value)} ${name}${value === 1 ? "" : "s"}`;

// A name that may be broken after its separators.
const breakable = (name) => name.split(/(?<=[:/_])/).flatMap((part) => [part, make("wbr")]);

// The arms of experiments that an answer is of, as a sentence.
const armsOf = ({ arms }) => arms
  ? ` Arms: ${Object.entries(arms).map(([experiment, arm]) => `${experiment} ${arm}`).join(", ")}.` : "";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The API key that the user has typed, for as long as the page is open. Asked for at the first 401.
let apiKey = "";

// The JSON of an answer; throws an Error with the reason that the server gives.
async function ask(path, body) {
  const options = { cache: "no-store", signal: AbortSignal.timeout(8000), headers: {} };
  const key = apiKey;
  if (key) options.headers.authorization = `Bearer ${key}`;
  if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    options.headers["content-type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? "no answer in 8 s" : "cannot be reached");
  }
  // A request that was under way when the user gave a key says nothing about that key.
  if (response.status === 401 && key === apiKey) byId("key-form").hidden = false;
  const answer = await response.json().catch(() => null);
  if (!response.ok && answer?.error) {
    throw new Error(`${answer.error.field}: ${answer.error.reason}`);
  }
  if (answer === null) throw new Error(`status ${response.status} without JSON`);
  return answer;
}
