"""What README, CONTRIBUTING and docs say of the code is so, and their samples run."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import documents
import msgspec
import pytest
import settings_page
import typer
from conventions import FOLDERS
from documents import Code, blocks
from pydantic import BaseModel

from freshrank.benchmarks.registry import BENCHES
from freshrank.deploy.cli import app
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.examples import catalogue, recommend
from freshrank.feature_actors.streams.codec import Codec
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.api.responses import ScoreAnswer
from freshrank.serve.api.score_requests import ScoreDecoder

ROOT = Path(__file__).parent.parent


def settings_of(section: type[BaseModel], above: str = "") -> Iterator[str]:
    """Names of all settings and sections, with dots between."""
    for name, field in section.model_fields.items():
        yield above + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{above}{name}.")


SETTINGS = set(settings_of(Settings))

_TABLES = [ROOT / "serve/http/route_table.py", *(ROOT / "serve/http").glob("*_routes.py")]
ROUTES = {
    (method, path.replace(":text", ""))
    for table in _TABLES
    for method, path in re.findall(
        r'method="(\w+)",\s*path="([^"]+)"', table.read_text(encoding="utf-8")
    )
}


def test_links_lead_somewhere() -> None:
    assert documents.dead_links(ROOT) == []


def test_files_that_are_named_exist_and_define_what_is_said() -> None:
    assert documents.missing_files(ROOT) == []


def test_tests_that_are_named_exist() -> None:
    assert documents.missing_tests(ROOT) == []


def test_settings_that_are_named_exist() -> None:
    assert "learner.guard.max_weight" in SETTINGS
    assert documents.missing_settings(ROOT, SETTINGS) == []


def test_routes_that_are_named_exist() -> None:
    assert ("POST", "/v1/score") in ROUTES
    assert documents.missing_routes(ROOT, ROUTES) == []


def test_the_readme_names_every_route() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path for _, path in ROUTES if f"{path}`" not in text] == []


GLOSSARY = ROOT / "docs" / "glossary.md"


def test_each_term_stands_once_and_its_type_is_where_the_glossary_says() -> None:
    assert len(documents.terms(GLOSSARY)) > 150
    assert documents.glossary_errors(ROOT, GLOSSARY) == []


def test_a_wrong_line_of_the_glossary_is_seen(tmp_path: Path) -> None:
    (tmp_path / "core.py").write_text("class Learner:\n    x: int\n")
    page = tmp_path / "glossary.md"
    page.write_text(
        "| term | type | file | meaning |\n|---|---|---|---|\n"
        "| learner, trainer | `Learner` | `core.py` | learns |\n"
        "| x | `Learner.x` | `core.py` | a number |\n"
        "| y | `Learner.y` | `core.py` | none |\n"
        "| trainer | `Learner` | `core.py` | the same |\n"
        "| thing | - | `gone.py` | nowhere |\n"
    )
    assert documents.glossary_errors(tmp_path, page) == [
        "glossary.md:5: core.py: Learner.y",
        "glossary.md:6: trainer stands twice",
        "glossary.md:6: Learner stands twice",
        "glossary.md:7: gone.py",
    ]
    page.write_text("| a | b |\n")
    with pytest.raises(ValueError, match=r"glossary.md:1"):
        documents.terms(page)


def test_types_that_the_changelog_calls_former_are_gone() -> None:
    table = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("| name before |")[2]
    before = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    # "`Watch` (of the learner)": another type has the name.
    former = set(re.findall(r"`([A-Z]\w+)`(?! \()", "\n".join(before)))
    assert {"Cut", "Span", "Outlets"} <= former
    types = {
        (path.relative_to(ROOT).as_posix(), name)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for name in documents.definitions(path)
    }
    assert [place for place, name in types if name in former] == []


def problems(line: Code) -> list[str]:
    """Programs, commands, options and benches of a command line that do not exist."""
    words = shlex.split(line.text)
    program, *rest = words
    options = [word.partition("=")[0] for word in rest if word.startswith("--")]
    if program != "freshrank":
        path = ROOT / program
        if not path.exists():
            return [program]
        text = path.read_text(encoding="utf-8") if program.startswith("scripts/") else None
        return [option for option in options if text is not None and option not in text]
    command: Any = typer.main.get_command(app)
    context = command.make_context("freshrank", [], resilient_parsing=True)
    names = [word for word in rest if not word.startswith("-")]
    while hasattr(command, "get_command") and names:
        name = names.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return [name]
        command = found
        if name == "bench" and names and names[0].islower() and names[0] != "list":
            return [] if names[0] in BENCHES else names[:1]
    known = {option for parameter in command.params for option in parameter.opts}
    return [option for option in options if option not in known]


LINES = [
    line
    for line in documents.command_lines(ROOT)
    # The option of a script that hands its arguments to pytest.
    if not line.text.startswith("scripts/test -k")
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.place} {line.text}")
def test_commands_and_their_options_exist(line: Code) -> None:
    assert problems(line) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("freshrank serve", "serve"),
        ("freshrank run songs.py --brokers here", "--brokers"),
        ("freshrank state mend", "mend"),
        ("freshrank bench speed", "speed"),
        ("scripts/lint", "scripts/lint"),
        ("scripts/test --quick", "--quick"),
    ],
)
def test_a_command_that_does_not_exist_is_seen(text: str, missing: str) -> None:
    assert problems(Code("README.md", 1, "", text)) == [missing]


def test_samples_of_settings_are_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for sample in blocks(ROOT, "toml"):
        text = re.sub(r'"/[^"]+"', json.dumps(str(secret)), sample.text)
        assert tomllib.loads(text), sample.place
        file = tmp_path / "settings.toml"
        file.write_text(text)
        assert load_settings(file, {}) != Settings(), sample.place


def test_the_readmes_pipeline_has_the_columns_that_the_docs_speak_of() -> None:
    (sample,) = blocks(ROOT, "python", "README.md")
    described = PipelineFile("songs.py", sample.text).load().describe()
    assert "finished_10m" in described
    assert "listened_7d" in described


def test_the_samples_of_the_pages_run_in_their_order() -> None:
    for page in documents.pages(ROOT):
        names: dict[str, Any] = {}
        found = blocks(ROOT, "python", page.relative_to(ROOT).as_posix())
        for sample in found:
            exec(compile(sample.text, sample.place, "exec", dont_inherit=True), names)
        assert not found or isinstance(names["pipeline"], Pipeline)


def test_the_readmes_request_and_answer_are_those_of_the_demo() -> None:
    curl = r"curl -s localhost:8000/v1/score -H 'content-type: application/json' -d '(.*?)'"
    request, with_catalogue, _ = re.findall(curl, readme(), re.DOTALL)
    explained = (ROOT / "docs" / "explanations.md").read_text(encoding="utf-8")
    (candidate,) = re.findall(curl.replace("score", "explain"), explained, re.DOTALL)

    def candidates(demo: ModuleType, body: str) -> int:
        types = demo.pipeline.online_features.request_types
        return ScoreDecoder("user", types, RequestLimits()).decode(body.encode()).count

    assert (candidates(recommend, candidate), candidates(catalogue, with_catalogue)) == (1, 2)
    (sample,) = blocks(ROOT, "json", "README.md")
    answer = msgspec.json.decode(sample.text, type=ScoreAnswer)
    assert len(answer.scores) == candidates(recommend, request)
    assert msgspec.to_builtins(answer) == json.loads(sample.text)


def test_the_readmes_event_and_request_are_those_of_its_own_file() -> None:
    (sample,) = blocks(ROOT, "python", "README.md")
    made = PipelineFile("songs.py", sample.text).load()
    posted = re.search(r"8000/v1/events .*? -d '(.*?\}')", readme(), re.DOTALL)
    assert posted is not None
    event = posted[1].removesuffix("'").replace("'$(date +%s000)'", "1790000000000")
    assert Codec(made.stream).decode_one(event.encode())
    *_, request = re.findall(r"8000/v1/score .*? -d '(.*?)'", readme(), re.DOTALL)
    types = made.online_features.request_types
    call = ScoreDecoder("listener", types, RequestLimits()).decode(request.encode())
    assert (call.count, call.show) == (2, 1)


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page()


def test_each_setting_says_what_it_means() -> None:
    rows = [line for line in settings_page.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_does_not_exist_is_seen(tmp_path: Path) -> None:
    (tmp_path / "learner").mkdir()
    (tmp_path / "learner" / "core.py").write_text(
        "class Learner:\n    def step(self):\n        1\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_core.py").write_text("def test_it():\n    assert 1\n")
    (tmp_path / "README.md").write_text(
        "# One\n[a](#one) [b](#two) [c](gone.md) [d](https://example.org)\n\n"
        "`learner/core.py: Learner.step` `learner/core.py: Learner, gone` `learner/gone.py`\n"
        "`test_core.py` `core.py` `gone.py` `test_it` `test_gone`\n"
        "`kafka.bootstrap` `kafka.gone` `FRESHRANK_KAFKA__GONE`\n"
        "`GET /v1/model` `POST /v1/model` `/v1/gone`\n"
    )
    settings, routes = {"kafka.bootstrap"}, {("GET", "/v1/model")}
    assert documents.dead_links(tmp_path) == ["README.md:2: #two", "README.md:2: gone.md"]
    assert documents.missing_files(tmp_path) == [
        "README.md:4: learner/core.py: gone", "README.md:4: learner/gone.py",
        "README.md:5: gone.py",
    ]  # fmt: skip
    assert documents.missing_tests(tmp_path) == ["README.md:5: test_gone"]
    assert documents.missing_settings(tmp_path, settings) == [
        "README.md:6: kafka.gone", "README.md:6: FRESHRANK_KAFKA__GONE"
    ]  # fmt: skip
    assert documents.missing_routes(tmp_path, routes) == [
        "README.md:7: POST /v1/model", "README.md:7: /v1/gone"
    ]  # fmt: skip
