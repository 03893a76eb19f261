"""The whole of the page's scripts runs, with a document of stubs and a replica's real answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any

import pytest
from fake_retriever import FakeRetriever, item
from serving import ReplicaUnderTest

from freshrank.serve.http.page.assembly import page

# A document without layout: elements are made when they are asked for, and keep their children.
DOM = """
class Stub {
  constructor() {
    Object.assign(this, { children: [], textContent: "", value: "", hidden: false });
    Object.assign(this, { style: {}, clientWidth: 300, clientHeight: 80 });
    this.classList = { add() {}, remove() {}, toggle() {} };
  }
  get lastChild() { return { remove: () => this.children.pop() }; }
  get text() { return this.textContent + this.children.map((one) => one.text ?? one).join(""); }
  setAttribute(name, value) { this[name] = value; }
  addEventListener(name, listener) { this[`on${name}`] = listener; }
  append(...added) { this.children.push(...added); }
  prepend(...added) { this.children.unshift(...added); }
  replaceChildren(...added) { this.children = added; }
  getBoundingClientRect() { return { left: 0, width: 300 }; }
  querySelector() { return null; }
}
const elements = {};
globalThis.document = {
  hidden: false, body: new Stub(),
  createElement: () => new Stub(), createElementNS: () => new Stub(),
  getElementById: (id) => elements[id] ??= new Stub(), querySelectorAll: () => [new Stub()],
};
globalThis.ResizeObserver = class { observe() {} };
const answers = JSON.parse(require("fs").readFileSync(0, "utf8"));
globalThis.fetch = async (path) => {
  const answer = Object.entries(answers).find(([known]) => path.startsWith(known));
  if (!answer) throw new Error(`nothing answers ${path}`);
  return { ok: true, status: 200, json: async () => structuredClone(answer[1]) };
};
const until = async (done) => {
  for (const end = Date.now() + 10000; !done() && Date.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
process.on("unhandledRejection", (error) => { console.error(error); process.exit(1); });
"""

# A person looks at the metrics, sends an event for the best candidate, and follows it.
STORY = """
(async () => {
  await until(() => elements.ranking?.children.length && elements.state?.textContent === "ready");
  const best = elements.ranking.children[0];
  await best.children.at(-1).onclick();
  await until(() => elements.log.text.includes("has learned up to it"));
  elements.more.onclick();
  const texts = Object.fromEntries(Object.entries(elements).map(([id, one]) => [id, one.text]));
  process.stdout.write(JSON.stringify(texts), () => process.exit(0));
})();
"""


# An endpoint that needs a key, which a person types.
WITH_KEY = """
const answer = globalThis.fetch;
globalThis.fetch = async (path, options) => {
  if (path === "readyz" || options.headers.authorization === "Bearer secret") return answer(path);
  const error = { field: "Authorization", reason: "a key is needed" };
  return { ok: false, status: 401, json: async () => ({ error }) };
};
"""
TYPE_KEY = """
(async () => {
  elements["key-form"].hidden = true;
  await until(() => !elements["key-form"].hidden);
  document.getElementById("key").value = " secret ";
  elements["key-form"].onsubmit({ preventDefault() {} });
  await until(() => elements.state.textContent === "ready" && elements.ranking?.children.length);
  const shown = { state: elements.state.textContent, form: elements["key-form"].hidden };
  process.stdout.write(JSON.stringify(shown), () => process.exit(0));
})();
"""


class Script(HTMLParser):
    """The script of the document."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._inside = False
        self.feed(page().html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text += data


async def answers_of_a_replica() -> dict[str, Any]:
    retriever = FakeRetriever({"4": item("a", 2.5), "5": item(None)})
    replica = ReplicaUnderTest(retriever=retriever)
    replica.store.kept[b"row:u1"] = b"4"
    candidates = [{"item_id": item, "note": "n", "price": 1.5} for item in (3, 4)]
    async with replica.client() as client:
        paths = {
            "v1/status": "/v1/status", "v1/model": "/v1/model", "readyz": "/readyz",
            "v1/pipeline": "/v1/pipeline", "v1/features": "/v1/features/user/u1",
        }  # fmt: skip
        answers = {known: (await client.get(path)).json() for known, path in paths.items()}
        request = {"user": "u1", "candidates": candidates}
        answers["v1/score"] = (await client.post("/v1/score", json=request)).json()
        wanted = {"user": "u1", "exclude_seen": False}
        answers["v1/recommend"] = (await client.post("/v1/recommend", json=wanted)).json()
        answers["v1/events"] = (await client.post("/v1/events", json={"user_id": "u1"})).json()
    place = answers["v1/events"]["positions"][0]
    answers["v1/features"]["offset"] = place["offset"]
    answers["v1/model"]["applied"] = {str(place["partition"]): {"behaviour": place["offset"] + 1}}
    answers["v1/pipeline"]["event_schema"]["properties"] |= {
        "ts": {"type": "integer"}, "type": {"enum": ["view", "order"]}, "id": {"type": "string"},
    }  # fmt: skip
    answers["v1/pipeline"]["samples"] = {
        "entities": ["u1"],
        "candidates": candidates,
        "automatic": {"id": "id", "time": "ts", "key": "user_id"},
    }
    return answers


def run_in_node(script: str) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the page's script with")
    ran = subprocess.run(
        [node, "-e", script],
        input=json.dumps(asyncio.run(answers_of_a_replica())),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    shown: dict[str, Any] = json.loads(ran.stdout)
    return shown


def test_an_endpoint_that_needs_a_key_lets_a_person_type_it() -> None:
    shown = run_in_node(DOM + WITH_KEY + Script().text + TYPE_KEY)
    assert shown == {"state": "ready", "form": True}


def test_a_person_sees_metrics_and_follows_an_event_to_features_and_weights() -> None:
    shown = run_in_node(DOM + Script().text + STORY)
    assert (shown["state"], shown["pipeline"], shown["id"]) == ("ready", "shop", "")
    assert "Model age" in shown["tiles"] and "version 1.5" in shown["tiles"]
    assert "favourite4" in shown["features"]
    assert shown["ranking"].startswith("1item_id 4 note n · price 1.50.9000")
    assert "Scores of version 1.5" in shown["ranking-note"]
    assert shown["problem"] == ""
    assert shown["recommended"] == (
        "1item 4brand a · price 2.500 · stock 1found by popular, co_visited0.9000"
        "2item 5price 1.500 · stock 1found by popular, co_visited0.1000"
    )
    assert shown["recommended-note"].startswith("The best 2 of 2 candidates")
    assert "Note: 2 candidates for 20 items" in shown["recommended-note"]
    for step in ("in the topic: partition", "the features contain it", "has learned up to it"):
        assert step in shown["log"]
