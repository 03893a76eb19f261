"""A TypeScript client, generated from the OpenAPI document, against the running system."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from documents import blocks
from jsonschema_rs import Draft202012Validator
from live_page import LivePage, live_page
from node import NodeProject
from whole_system import until

from freshrank.examples.catalogue import pipeline

Document: TypeAlias = dict[str, Any]

KEY = "a-key-of-the-tests-of-typescript-which-is-long"
ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "tests" / "data" / "typescript"
USER = "u00007"

# Seconds: kernels may have to be compiled, by the process that answers.
PATIENCE_S = 300.0


def documented() -> list[list[str]]:
    """The commands of the page, without the step into the folder: three of Node's and one curl."""
    (block,) = [one for one in blocks(ROOT, "", "docs/client.md") if "npm ci" in one.text]
    first, *others = [shlex.split(line) for line in block.text.splitlines()]
    assert first == ["cd", "examples/typescript"]
    return others


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> NodeProject:
    return NodeProject(tmp_path_factory.mktemp("typescript"))


@pytest.fixture(scope="module")
def live(project: NodeProject) -> Iterator[LivePage]:
    """An endpoint that asks for a key; it starts where the client can be made."""
    with live_page(pipeline, {"api_key": KEY, "require_keys": True}) as running:
        yield running


@pytest.fixture(scope="module")
def document(live: LivePage) -> Document:
    _, (_, _, url, *_), _, _ = documented()
    return asked(live, url.removeprefix("http://localhost:8000/"))


def asked(live: LivePage, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.get(f"{live.url}{path}", headers=headers, timeout=PATIENCE_S)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def built(project: NodeProject, document: Document) -> NodeProject:
    """The example, the sample of the page and `misuse.ts`, compiled."""
    _, (*_, file), build, _ = documented()
    (project.folder / file).write_text(json.dumps(document), encoding="utf-8")
    shutil.copy(DATA / "misuse.ts", project.folder)
    (sample,) = blocks(ROOT, "ts", "docs/client.md")
    (project.folder / "sample.ts").write_text(sample.text, encoding="utf-8")
    done = project.run(*build)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@dataclass(frozen=True, slots=True)
class Visit:
    """A run of the example."""

    returncode: int
    printed: str
    exchanges: Sequence[Mapping[str, Any]]
    """Each request with its answer, in their order."""


def visit(built: NodeProject, live: LivePage, key: str | None) -> Visit:
    """What the example does once all parts have worked."""
    until(lambda: asked(live, "v1/model")["newest_event_ms"], PATIENCE_S)
    file = built.folder / "record.jsonl"
    file.unlink(missing_ok=True)
    environment = {"RECORD": str(file), "SHOP_KEY": key} if key else {"RECORD": str(file)}
    *_, (node, script, _, user) = documented()
    program = (script, live.url.rstrip("/"), user)
    record = str(DATA / "record.mjs")
    done = built.run(node, "--import", record, *program, environment=environment)
    lines = file.read_text(encoding="utf-8").splitlines()
    return Visit(done.returncode, done.stdout + done.stderr, list(map(json.loads, lines)))


def test_the_generated_client_gets_what_the_document_says(
    built: NodeProject, live: LivePage, document: Document
) -> None:
    found = visit(built, live, KEY)
    assert found.returncode == 0, found.printed
    assert [(one["path"], one["status"]) for one in found.exchanges] == [
        ("/v1/recommend", 200),
        ("/v1/events", 200),
        ("/v1/score", 200),
        ("/v1/similar", 200),
        ("/v1/explain", 200),
        (f"/v1/features/user/{USER}", 200),
        ("/v1/similar", 404),
    ]
    assert {one["authorization"] for one in found.exchanges} == {f"Bearer {KEY}"}
    for one in found.exchanges:
        assert differences(document, one) == [], one
    for line in (
        r"item \d+ at [\d.]+: [\d.e-]+ because of \w+",
        r"scores \[ [\d.e-]+, [\d.e-]+, [\d.e-]+ \]",
        r"similar \[",  # none, as long as nobody has touched two items
        r"logit -?\d+\.\d+",
        r"clicks [1-9]",
        r"refused 404 items .*catalogue",
    ):
        assert re.search(rf"^{line}", found.printed, re.MULTILINE), (line, found.printed)


def test_without_a_key_it_gets_an_error_with_its_body(
    built: NodeProject, live: LivePage, document: Document
) -> None:
    found = visit(built, live, None)
    assert found.returncode == 1
    assert "401: Authorization: a key is needed" in found.printed
    (one,) = found.exchanges
    assert differences(document, one) == []


def test_requests_are_sent_again_with_one_key_where_nothing_or_a_503_answers(
    built: NodeProject,
) -> None:
    shutil.copy(DATA / "retries.mjs", built.folder)
    done = built.run("node", "retries.mjs")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [(one["path"], one["outcome"], len(one["tries"])) for one in told] == [
        ("/v1/recommend", 200, 4),
        ("/v1/score", 503, 4),
        ("/v1/score/batch", "TypeError", 4),
        ("/v1/recommend/next", 422, 1),
        ("/v1/events", 200, 2),
        ("/v1/model", 200, 2),
    ]
    keys = [{one["key"] for one in story["tries"]} for story in told]
    assert [len(of_one) for of_one in keys] == [1] * len(told)
    assert len(set.union(*keys[:4])) == 4
    assert keys[4:] == [{None}, {None}]
    for story in told:
        sent = "" if story["path"] == "/v1/model" else '{"user": "u1"}'
        assert {one["body"] for one in story["tries"]} == {sent}


def differences(document: Document, exchange: Mapping[str, Any]) -> list[str]:
    """How a request and its answer differ from what the document says of them."""
    operation = operation_of(document, exchange["method"], exchange["path"])
    parts = [(operation["responses"][str(exchange["status"])], exchange["answer"])]
    if exchange["body"]:
        parts.append((operation["requestBody"], exchange["body"]))
    assert exchange["kind"] == "application/json"
    schemas = closed(document["components"])
    return [
        f"{error.instance_path}: {error.message}"
        for described, text in parts
        for error in Draft202012Validator(
            {**described["content"]["application/json"]["schema"], "components": schemas}
        ).iter_errors(json.loads(text))
    ]


def operation_of(document: Document, method: str, path: str) -> Document:
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            found: Document = operations[method.lower()]
            return found
    raise AssertionError(f"the document has no {path}")


def closed(value: Any) -> Any:
    """Schemas that allow no field of which they do not tell: clients could not know of it."""
    if isinstance(value, list):
        return [closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: closed(one) for key, one in value.items()}
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def test_a_difference_would_be_found(document: Document) -> None:
    wrong: Mapping[str, Any] = {
        "method": "POST",
        "path": "/v1/similar",
        "body": json.dumps({"items": ["x"]}),
        "status": 404,
        "kind": "application/json",
        "answer": json.dumps({"error": {"field": "items", "more": 1}}),
    }
    assert sorted(differences(document, wrong)) == [
        "['error']: \"reason\" is a required property",
        "['error']: Additional properties are not allowed ('more' was unexpected)",
        "['items', 0]: \"x\" is not valid under any of the schemas listed in the 'anyOf' keyword",
    ]
