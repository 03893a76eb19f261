"""Commands of installed packages: a package is planted on the path, and its commands are run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshrank.actors.errors import ConfigError
from freshrank.deploy import cli
from freshrank.deploy.commands.plugins import GROUP


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, with a package whose entry points are `entry_points.txt` in it."""
    information = tmp_path / "shop_tools-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-tools\nVersion: 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_tools", raising=False)
    return tmp_path


def install(package: Path, program: str, *commands: str) -> None:
    """Give the package a module, and entry points such as ``report = shop_tools:report``."""
    (package / "shop_tools.py").write_text(program)
    lines = "\n".join(commands)
    (package / "shop_tools-1.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")


def run(*words: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(cli.app, words)
    return result.exit_code, result.output, result.exception


def test_the_demo_and_the_benches_are_listed_with_their_help() -> None:
    status, shown, _ = run("--help")
    assert status == 0
    assert "Run the bundled pipeline on generated shopping traffic" in shown
    assert "Measure, and compare with what should be reached." in shown


@pytest.mark.parametrize("name", ["demo", "bench"])
def test_a_bundled_command_explains_its_options(name: str) -> None:
    status, shown, _ = run(name, "--help")
    assert status == 0
    assert "--json" in shown
    assert "cannot be loaded" not in shown


def test_a_command_of_a_package_runs_with_its_arguments(package: Path) -> None:
    program = 'def report(day: int):\n    """Report a day."""\n    print(f"report of day {day}")\n'
    install(package, program, "report = shop_tools:report")
    assert run("report", "7") == (0, "report of day 7\n", None)
    assert "Report a day." in run("--help")[1]


BROKEN = {
    "an import that fails": ("import no_such_module", "No module named 'no_such_module'"),
    "a module that raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "a function that is missing": ("", "has no attribute 'report'"),
    "a value that is no function": ("report = 7", "TypeError: 7 is not a callable object"),
}


@pytest.mark.parametrize(("program", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_command_that_cannot_be_loaded_is_an_error_with_its_reason(
    package: Path, program: str, reason: str
) -> None:
    install(package, program, "report = shop_tools:report")
    status, shown, error = run("report")
    assert isinstance(error, ConfigError)
    assert str(error).startswith("command 'report': shop_tools:report cannot be loaded: ")
    assert reason in str(error)
    assert error.fix == "Install shop-tools again, or remove it."
    status, shown, _ = run("--help")
    assert status == 0  # the other commands are there
    assert "(cannot be loaded: " in shown
    assert "Run a pipeline of your own" in shown


def test_a_built_in_command_is_not_replaced(package: Path) -> None:
    install(package, 'def version():\n    print("mine")\n', "version = shop_tools:version")
    assert run("version")[1].startswith("freshrank 0.")
    assert run("--version") == run("version")


def test_a_built_in_command_does_not_load_plugins(package: Path) -> None:
    install(package, "raise SystemExit(9)", "report = shop_tools:report")
    assert run("version")[0] == 0
    assert "shop_tools" not in sys.modules


def test_an_unknown_command_is_answered_with_those_of_plugins_too(package: Path) -> None:
    install(package, "def report(): ...\n", "report = shop_tools:report")
    status, shown, _ = run("reprot")
    assert status == 2
    assert "Did you mean 'report'" in shown
