"""The folder on disk that caches compiled kernels, named by a hash of their sources.

Numba compares a cached kernel only with the file that defines it: a change of a
function that the kernel calls, or of a constant that it uses, in another file would leave the old
machine code in use. So the folder's name is a hash of every file that defines a kernel and of
every file that such a file imports, directly or by way of others.

``python -m freshrank.actors.kernels.cache`` ends with status 1 where kernels are to be compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[2]

_KERNEL_MARK = "freshrank.actors.kernels.compile"  # imported by each file that defines a kernel

_IMPORT = re.compile(
    r"^\s*(?:from freshrank\.([\w.]+) import (?:\(([^)]*)\)|([^\n#]*))|import freshrank\.([\w.]+))",
    re.MULTILINE,
)

_PREFIX = "kernels-"
_COMPLETE = "complete"

# The folders that stay when another is made: enough for a few branches, or for two versions that
# run at once. A folder takes about 3 MB.
_KEPT_FOLDERS = 4


def cache_name(package: Path, numba_version: str) -> str:
    """The name of the folder for the kernels of `package` (the folder that holds `actors`)."""
    texts = _sources(package)
    digest = hashlib.sha256(numba_version.encode())
    for module in sorted(_kernel_closure(texts)):
        digest.update(f"\0{module}\0".encode() + texts[module])
    return _PREFIX + digest.hexdigest()[:16]


def cache_folder(package: Path = _PACKAGE) -> Path | None:
    """The folder, made if need be; None where no place for it can be written to.

    It lies in NUMBA_CACHE_DIR where that is set; else beside the package's sources; else, where
    the package is read-only, in the user's cache directory. Processes share it. When it is made,
    the folders beside it that have not been used for the longest are removed.
    """
    name = cache_name(package, version("numba"))
    for parent in _parents(package):
        folder = parent / name
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                _prune(parent)
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)  # the newest are those that were used last
        except OSError:
            continue
        return folder
    return None


def is_incomplete() -> bool:
    """Whether there is a folder into which not all kernels were compiled (see `mark_complete`)."""
    folder = cache_folder()
    return folder is not None and not (folder / _COMPLETE).exists()


def mark_complete() -> None:
    """Note that all kernels were compiled into the folder, where there is one."""
    folder = cache_folder()
    if folder is not None:
        (folder / _COMPLETE).touch()


def _parents(package: Path) -> Iterator[Path]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        yield Path(named)
        return
    yield package / "actors" / "kernels" / "__pycache__"
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshrank"


def _prune(parent: Path) -> None:
    """Keep the folders that were used last. A process whose folder is removed compiles again."""
    folders = [path for path in parent.glob(f"{_PREFIX}*") if path.is_dir()]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in folders[_KEPT_FOLDERS:]:
        shutil.rmtree(old, ignore_errors=True)


def _sources(package: Path) -> dict[str, bytes]:
    """The text of every module of the package, by its dotted name below the package."""
    texts, skipped = {}, len(str(package)) + 1
    for folder, _, files in os.walk(package, followlinks=True):
        for file in files:
            if file.endswith(".py"):
                path = f"{folder}/{file}"  # a Path for each would double the time
                name = path[skipped:-3].replace("/", ".").removesuffix(".__init__")
                texts[name] = Path(path).read_bytes()
    return texts


def _kernel_closure(texts: Mapping[str, bytes]) -> set[str]:
    """The modules that define kernels, and all that they import, directly or not."""
    found: set[str] = set()
    coming = [name for name, text in texts.items() if _KERNEL_MARK.encode() in text]
    while coming:
        module = coming.pop()
        if module in texts and module not in found:
            found.add(module)
            coming += _imports(texts[module].decode())
    return found


def _imports(text: str) -> Iterator[str]:
    """Names, below the package, of what may be a module that `text` imports."""
    for source, several, single, plain in _IMPORT.findall(text):
        yield source or plain
        for name in re.findall(r"(\w+)(?:\s+as\s+\w+)?", several or single):
            yield f"{source}.{name}"


if __name__ == "__main__":
    sys.exit(is_incomplete())
