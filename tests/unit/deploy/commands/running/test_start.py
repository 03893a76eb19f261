"""From what was typed to what is run; nothing is started here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from mistakes import RIGHT
from typer.testing import CliRunner

from freshrank.actors.errors import ConfigError
from freshrank.deploy import cli
from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.commands.running import start
from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.state.state_folder import StateFolder
from freshrank.deploy.wiring import start_checks
from freshrank.examples.shop.demo_traffic import DemoTraffic
from freshrank.serve.access.request_guard import RequestGuard
from freshrank.serve.scoring.service import ScoringService


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pipeline and settings in it, and nothing in the environment."""
    for name in ("KAFKA__BOOTSTRAP", "REDIS__URL", "SERVE__PORT"):
        monkeypatch.delenv(f"FRESHRANK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("shop.py").write_text(RIGHT)
    Path("shop.toml").write_text("[kafka]\nbootstrap = 'file:1'\n[serve]\nport = 1\n")
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """What would have been run."""
    runs: list[RunRequest] = []
    monkeypatch.setattr(start, "start", runs.append)
    return runs


def typed(*words: str) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("shop")
def test_an_option_wins_over_a_variable_and_that_over_the_file(
    started: list[RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("run", "shop.py", "--config", "shop.toml")
    monkeypatch.setenv("FRESHRANK_SERVE__PORT", "2")
    typed("run", "shop.py", "--config", "shop.toml")
    options = ("--port", "3", "--kafka", "typed:1", "--redis", "redis://typed:1/0")
    typed("run", "shop.py", "--config", "shop.toml", *options)
    found = [(one.settings.kafka.bootstrap, one.settings.serve.port) for one in started]
    assert found == [("file:1", 1), ("file:1", 2), ("typed:1", 3)]
    assert [one.settings.redis.url for one in started] == ["embedded"] * 2 + ["redis://typed:1/0"]


@pytest.mark.usefixtures("shop")
def test_a_demo_is_a_run_of_the_bundled_pipeline_with_traffic(started: list[RunRequest]) -> None:
    typed("demo", "--seconds", "100", "--json", "demo.json")
    typed("run", "shop.py")
    demo, run = started
    assert demo.file.load().name == "recommend"
    assert (demo.seconds, demo.json_file) == (100.0, Path("demo.json"))
    assert demo.traffic is DemoTraffic
    assert demo.settings.serve.port == 8000
    assert run.traffic is None
    # A fifth of a run that has an end; a minute at most.
    assert (demo.freeze_after_s, run.freeze_after_s) == (20.0, 60.0)


@pytest.mark.parametrize("command", [("demo",), ("run", "shop.py")])
@pytest.mark.usefixtures("shop", "started")
def test_an_impossible_port_is_refused_by_the_name_of_its_option(command: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--port", "99999"])
    assert result.exit_code == 2
    assert "'--port'" in result.output
    assert "FRESHRANK" not in result.output


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a start does, in order; the heavy part of it is left out."""
    seen: list[str] = []
    live = ModuleType("live")
    vars(live)["run_system"] = lambda run: seen.append("run")
    monkeypatch.setitem(sys.modules, "freshrank.deploy.commands.running.run", live)
    monkeypatch.setattr(ray_environment, "prepare", lambda *given: seen.append("load Ray"))
    monkeypatch.setattr(
        start, "check_port", lambda host, port, setting="serve.port": seen.append(f"try {port}")
    )
    return seen


@pytest.mark.usefixtures("shop")
def test_a_run_says_what_its_columns_cost(happened: list[str]) -> None:
    said = CliRunner().invoke(cli.app, ["run", "shop.py", "--port", "8001"]).output
    assert "listener: 528 bytes an entity" in said
    assert "finished_1d       56 B  tail exact to 2h" in said
    assert happened == ["try 8001", "load Ray", "run"]


@pytest.mark.usefixtures("shop")
def test_a_folder_that_another_run_holds_is_refused_before_anything_is_said(
    happened: list[str],
) -> None:
    with StateFolder(Path(".freshrank/songs").absolute(), "embedded").held():
        result = CliRunner().invoke(cli.app, ["run", "shop.py"])
    assert isinstance(result.exception, ConfigError)
    assert "another run keeps its state there (process " in str(result.exception)
    assert (result.output, happened) == ("", ["try 8000"])


@pytest.mark.usefixtures("shop")
def test_a_port_in_use_is_refused_before_anything_is_loaded(
    happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(host: str, port: int) -> None:
        raise ConfigError(f"serve.port {port} of {host}", "somebody listens there", "Another.")

    monkeypatch.setattr(start, "check_port", taken)
    result = CliRunner().invoke(cli.app, ["run", "shop.py", "--port", "8001"])
    assert isinstance(result.exception, ConfigError)
    assert happened == []


@pytest.mark.usefixtures("shop")
def test_the_port_of_grpc_is_tried_before_anything_is_loaded(
    happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHRANK_SERVE__GRPC_PORT", "9001")
    assert CliRunner().invoke(cli.app, ["run", "shop.py", "--port", "8001"]).exit_code == 0
    assert happened == ["try 8001", "try 9001", "load Ray", "run"]


@pytest.mark.usefixtures("shop")
def test_a_pipeline_that_no_replica_could_serve_is_refused_before_ray_is_loaded(
    happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(service: ScoringService, guard: RequestGuard) -> None:
        raise ConfigError(service.pipeline.name, "two types have one name", "Rename one.")

    monkeypatch.setattr(start_checks, "routes_of", refuse)
    result = CliRunner().invoke(cli.app, ["run", "shop.py", "--port", "8001"])
    assert str(result.exception) == "songs: two types have one name. Rename one."
    assert happened == ["try 8001"]


@pytest.mark.usefixtures("shop")
def test_a_port_of_kafka_is_an_option_and_tried_before_anything_is_loaded(
    happened: list[str],
) -> None:
    options = ["--port", "8001", "--kafka", "apache", "--kafka-port", "9092"]
    assert CliRunner().invoke(cli.app, ["run", "shop.py", *options]).exit_code == 0
    assert happened == ["try 8001", "try 9092", "load Ray", "run"]


@pytest.mark.usefixtures("shop")
def test_a_port_of_a_broker_that_is_not_started_here_is_refused(happened: list[str]) -> None:
    result = CliRunner().invoke(cli.app, ["run", "shop.py", "--kafka-port", "9092"])
    assert isinstance(result.exception, ConfigError)
    assert "set `bootstrap` to apache (`--kafka apache`)" in str(result.exception)
    assert happened == []
