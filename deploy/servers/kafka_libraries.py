"""The jars of Apache Kafka: fetched by their Maven coordinates once, kept in the user's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from freshrank.actors.errors import ConfigError, Unavailable

KAFKA_VERSION = "4.3.0"

# Kafka logs through slf4j and brings no binding to it: this one writes to standard error.
COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")

# `digest` of the folder of all jars: what these coordinates stand for. To be computed anew when
# they change.
LIBRARIES_DIGEST = "36c0981518619edcbbd4d74fc1ad0e0da766c8a3ed848400cd56a021fad0d704"

# Jars that are fetched at the same time: each request opens a connection of its own.
_DOWNLOADS = 8


def cache_folder() -> Path:
    """The folder for files that are fetched once per user."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "freshrank"


def missing_libraries() -> str | None:
    """Explain why the jars cannot be had here; None when they are there or can be fetched."""
    if _library_folder().exists() or importlib.util.find_spec("jgo") is not None:
        return None
    return "Apache Kafka is not in the cache, and jgo, which fetches it, is not installed"


def kafka_libraries(log: Callable[[str], None] = lambda line: None) -> Path:
    """Return the folder of Kafka's jars; fetches them the first time, which takes seconds.

    Raises ConfigError without jgo, Unavailable when the jars cannot be fetched or are not those
    that `LIBRARIES_DIGEST` stands for.
    """
    folder = _library_folder()
    if folder.exists():
        return folder
    if missing_libraries():
        raise ConfigError(
            "kafka",
            f"fetching Apache Kafka {KAFKA_VERSION} needs jgo, which is not installed",
            "pip install 'freshrank[demo]', or give the address of a running broker.",
        )
    log(f"fetching Apache Kafka {KAFKA_VERSION} (43 MB, once)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: two first starts at a time fetch twice, and one of them wins.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        jars = Path(scratch) / "jars"
        jars.mkdir()
        try:
            fetch(Path(scratch) / "repository", jars)
        except (OSError, RuntimeError) as error:  # of the connection; and what jgo raises
            raise _not_fetched(str(error).partition("\n")[0]) from error
        if digest(jars) != LIBRARIES_DIGEST:
            raise _not_fetched("the jars are not those that this version was tested with")
        try:
            jars.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    return folder


def digest(folder: Path) -> str:
    """Compute the SHA-256, in hex, of the names and contents of all files in `folder`."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            total.update(
                f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n".encode()
            )
    return total.hexdigest()


def _library_folder() -> Path:
    return cache_folder() / f"kafka-{KAFKA_VERSION}"


def fetch(repository: Path, jars: Path) -> None:
    """Resolve the coordinates and all that they need at run time, and put the jars into `jars`."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 - takes 0.5 s, and is needed once
    from jgo.maven import MavenContext  # noqa: PLC0415

    # Mirrors that the user has set up for jgo, where there are any.
    mirrors = GlobalSettings.load().repositories or None
    context = MavenContext(repo_cache=repository, local_repos=[], remote_repos=mirrors)
    wanted, needed = context.resolver.resolve(
        [context.create_dependency(coordinate) for coordinate in COORDINATES]
    )
    needed = [dependency for dependency in needed if dependency.scope in {"compile", "runtime"}]
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        fetched = pool.map(lambda dependency: dependency.artifact.resolve(), [*wanted, *needed])
        for path in fetched:
            shutil.move(path, jars / path.name)


def _not_fetched(reason: str) -> Unavailable:
    return Unavailable(
        "kafka",
        f"Apache Kafka {KAFKA_VERSION} could not be fetched: {reason}. See that this machine "
        "reaches Maven's registry (HTTPS_PROXY, or a mirror in jgo's own configuration), or give "
        "the address of a running broker.",
    )
