"""The gates themselves: each is shown a planted mistake, and has to see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import coverage_floor
import pytest
from layers import breaks
from mypy.main import process_options
from unpickling import unpickles

ROOT = Path(__file__).parent.parent

# Of the tests that need no server: fewer than there are, and more than would be left without one
# of their folders.
FEWEST_TESTS = 1_400


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("serve/app.py", "from freshrank.learner import models", "may not import freshrank.learn"),
        ("serve/app.py", "from freshrank import learner", "may not import freshrank.learner"),
        ("actors/cell.py", "import freshrank.serve.app", "may not import freshrank.serve"),
        ("learner/core.py", "def f():\n    import ray.util", "ray may be imported in"),
        ("learner/core.py", "import torch", "torch may be imported in"),
        ("feature_actors/shard.py", "import aiokafka", "aiokafka may be imported in"),
        ("serve/app.py", "import serve.page", "serve is imported as freshrank.serve"),
        ("serve/app.py", "from . import page", "a relative import"),
        ("deploy/cli.py", "from freshrank.examples import jd", "may not import freshrank.examples"),
        ("deploy/cli.py", "import freshrank.benchmarks.cli", "may not import freshrank.benchmarks"),
        ("examples/jd.py", "import freshrank.benchmarks.cli", "may not import freshrank.bench"),
    ],
)
def test_a_crossed_layer_is_seen(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(line)
    (found,) = breaks(tmp_path)
    assert complaint in found


def plant(root: Path, files: dict[str, str]) -> list[str]:
    """Write files, and find the breaks of the layers among them."""
    for file, text in files.items():
        path = root / file
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return breaks(root)


def test_what_the_layers_allow_is_not_reported(tmp_path: Path) -> None:
    allowed = {
        "serve/app.py": "from freshrank.actors.messages import OffsetRange\nimport starlette",
        "serve/deployment.py": "import ray.serve",
        "learner/gradients/torch_models.py": "import torch.nn",
        "deploy/local.py": "import freshrank.learner.core",
        "deploy/cli.py": "from freshrank.deploy.commands import run\nimport freshrank.deploy",
        "deploy/commands/run.py": "from freshrank.deploy.config.settings import Settings",
        "deploy/config/settings.py": "",
        "examples/shop.py": "from freshrank import Count\nimport freshrank.deploy.commands.run",
        "benchmarks/ingest.py": "import aiokafka, freshrank.examples.shop",
        "tests/support/shop.py": "import layers",
        "tests/support/layers.py": "import ast",
    }
    assert plant(tmp_path, allowed) == []


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (
            {
                "deploy/config/settings.py": "from freshrank.deploy.commands import run",
                "deploy/commands/run.py": "",
            },
            "deploy.config.settings imports deploy.commands.run: commands stands above config",
        ),
        (
            {"learner/new.py": "import freshrank.learner.core", "learner/core.py": ""},
            "learner.new imports learner.core: core stands above new in the order of learner",
        ),
        ({"serve/cache/rows.py": ""}, "serve/cache: a sub-package without a place in the order"),
    ],
    ids=["between packages", "a module that is not listed", "a package that is not listed"],
)
def test_an_arrow_up_is_seen(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    (found,) = plant(tmp_path, files)
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("files", "circles"),
    [
        (
            {
                "learner/guard/a.py": "from freshrank.learner.guard import b",
                "learner/guard/b.py": "def f():\n    from freshrank.learner.guard.c import C",
                "learner/guard/c.py": "import freshrank.learner.guard.a",
            },
            {"a circle of files", "a circle of rooms of learner.guard"},
        ),
        (
            {
                "serve/http/page/html.py": "import freshrank.serve.http.scripts.js",
                "serve/http/page/css.py": "",
                "serve/http/scripts/js.py": "",
                "serve/http/scripts/start.py": "import freshrank.serve.http.page.css",
            },
            {"a circle of rooms of serve.http"},
        ),
        (
            {"tests/support/a.py": "import b", "tests/support/b.py": "from a import X"},
            {"a circle of files", "a circle of rooms of tests/support"},
        ),
    ],
    ids=["files", "folders", "support of tests"],
)
def test_a_circle_is_seen(tmp_path: Path, files: dict[str, str], circles: set[str]) -> None:
    found = plant(tmp_path, files)
    assert {circle.partition(":")[0] for circle in found} == circles


def test_a_thirteenth_module_is_seen(tmp_path: Path) -> None:
    files = {f"learner/models/{name}.py": "" for name in "abcdefghijkl"}
    assert plant(tmp_path, {**files, "learner/models/__init__.py": ""}) == []
    (found,) = plant(tmp_path, {"learner/models/m.py": ""})
    assert found.startswith("learner/models: 13 modules, at most 12")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("import cloudpickle as c", "cloudpickle"),
        ("from ray import cloudpickle", "ray.cloudpickle"),
        ("import ray.cloudpickle", "ray.cloudpickle"),
        ("x = ray.cloudpickle.loads(b'')", "ray.cloudpickle"),
        ("x = torch.load('w', weights_only=False)", "torch.load"),
        ("from torch import load", "torch.load"),
        ("x = np.load('w.npy')", "np.load"),
        ("x = np.lib.format.read_array(f, allow_pickle=True)", "allow_pickle"),
    ],
)
def test_reading_a_pickle_is_seen(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "learner" / "checkpoints.py"
    path.parent.mkdir()
    path.write_text(f"import json\n{line}\n")
    assert f"learner/checkpoints.py:2: {what}" in unpickles(tmp_path)
    path.write_text("import json\nx = json.loads(safetensors.numpy.load(b''))\n")
    assert unpickles(tmp_path) == []


def test_a_type_error_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(
        "from freshrank.actors.messages import Version\n\n"
        'wrong: Version = Version("1", 2)\n\n\ndef untyped(x):\n    return x\n'
    )
    done = tool("mypy", "--config-file", str(ROOT / "pyproject.toml"), str(planted))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[arg-type]" in done.stdout
    assert "[no-untyped-def]" in done.stdout


def test_a_lint_error_and_a_wrong_format_are_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import os\ntry:\n    x = 1\nexcept Exception:\n    pass\n")
    config = f"--config={ROOT / 'pyproject.toml'}"
    checked = tool("ruff", "check", "--no-cache", "--output-format=concise", config, str(planted))
    assert checked.returncode == 1
    for rule in ("F401", "BLE001", "D100"):
        assert rule in checked.stdout
    for text, status in (('x = {"a": 1}\n', 0), ("x = { 'a':1 }\n", 1)):
        planted.write_text(text)
        formatted = tool("ruff", "format", "--check", "--no-cache", config, str(planted))
        assert formatted.returncode == status


@pytest.mark.parametrize(
    ("file", "lines", "branches", "status"),
    [
        ("serve/app.py", 0, 0, 0),
        ("serve/app.py", -1, 0, 1),
        ("serve/app.py", 0, -1, 1),
        ("benchmarks/report.py", 0, 0, 0),
        ("benchmarks/report.py", -1, 0, 1),
    ],
)
def test_too_little_coverage_is_an_error(
    tmp_path: Path, file: str, lines: int, branches: int, status: int
) -> None:
    """`lines` and `branches` are percent above the floors of the file's folder."""

    def summary(lines: float, branches: float) -> dict[str, dict[str, int]]:
        names = ("num_statements", "covered_lines", "num_branches", "covered_branches")
        counts = (1_000, round(10 * lines), 1_000, round(10 * branches))
        return {"summary": dict(zip(names, counts, strict=True))}

    files = {"serve/app.py": summary(100, 100), "benchmarks/report.py": summary(100, 100)}
    floors = coverage_floor.FLOORS
    least_lines, least_branches = floors.get(file.partition("/")[0], floors[""])
    files[file] = summary(least_lines + lines, least_branches + branches)
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files}))
    assert coverage_floor.main(report) == status


def python_files() -> set[str]:
    """Every Python file of the repository; the links in freshrank/ and hidden folders left out."""
    tops = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    return {
        path.relative_to(ROOT).as_posix()
        for top in tops
        if top.is_dir() and top.name not in {"build", "dist"}
        for path in top.rglob("*.py")
        if not any(folder.is_symlink() for folder in path.parents)
    }


def test_lint_looks_at_every_python_file_once() -> None:
    listed = tool("ruff", "check", "--show-files").stdout.split()
    names = [Path(one).relative_to(ROOT).as_posix() for one in listed if one.endswith(".py")]
    assert len(names) == len(set(names))
    assert set(names) == python_files()


def test_types_are_checked_in_every_python_file() -> None:
    sources, options = process_options(["--config-file", str(ROOT / "pyproject.toml")])
    found = {Path(source.path).resolve() for source in sources if source.path is not None}
    expected = {ROOT / name for name in python_files()}
    assert found == {path for path in expected if not path.is_relative_to(ROOT / "stubs")}
    assert options.disallow_any_generics and options.disallow_untyped_defs  # as in `strict`


def test_nothing_opts_out_of_the_type_checker() -> None:
    # Spelt in two parts, so that this file does not name what it looks for.
    marker = "type: " + "ignore"
    folders = ("actors", "feature_actors", "learner", "serve", "deploy", "examples", "benchmarks")
    files = [path for folder in (*folders, "tests") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if marker in path.read_text(encoding="utf-8")] == []
    assert "overrides" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.skipif("WHOLE_SUITE" not in os.environ, reason="a part was asked for")
def test_the_whole_suite_is_collected(request: pytest.FixtureRequest) -> None:
    assert request.session.testscollected >= FEWEST_TESTS
    assert {item.path.suffix for item in request.session.items} == {".py"}
    places = {item.nodeid.split("::")[0].rpartition("/")[0] for item in request.session.items}
    for folder in ("freshrank/actors", "tests/unit/actors", "tests/contracts", "tests/simulation"):
        assert any(place.startswith(folder) for place in places), f"nothing from {folder}"
