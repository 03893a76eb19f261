"""The text of a pipeline's file: processes exchange that, never pickled classes."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from freshrank.actors.errors import ConfigError, did_you_mean
from freshrank.deploy.pipelines.declared_lines import declared_line
from freshrank.deploy.pipelines.pipeline import Pipeline

# The message of Python about an argument that there is no parameter for.
_UNEXPECTED = re.compile(
    r"(?P<called>\w+)\.__init__\(\) got an unexpected keyword argument '(?P<given>\w+)'"
)


def line_of(error: BaseException, path: str) -> str:
    """``path:line`` of the last line of the file at `path` that was run before `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f"{path}:{lines[-1]}" if lines else path


def _nearest_parameter(problem: str, names: Mapping[str, object]) -> str | None:
    """The parameter that was meant, where a class of `names` was given one that it does not have.

    >>> problem = "ConfigError.__init__() got an unexpected keyword argument 'fixx'"
    >>> _nearest_parameter(problem, globals())
    "Did you mean 'fix'?"
    """
    found = _UNEXPECTED.fullmatch(problem)
    called = names.get(found["called"]) if found else None
    if found is None or not isinstance(called, type):
        return None
    return did_you_mean(found["given"], inspect.signature(called).parameters)


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """The path and the text of a Python file that declares a pipeline."""

    path: str
    text: str

    @classmethod
    def read(cls, path: Path) -> PipelineFile:
        """Read the file at `path`. Raises ConfigError when it cannot be read."""
        try:
            return cls(str(path), path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(
                str(path), f"cannot be read: {reason}", "Give the path of a pipeline's Python file."
            ) from error

    def load(self) -> Pipeline:
        """Return the only pipeline of the file. Raises ConfigError with file and line."""
        found = dict[int, Pipeline]()
        names = list[str]()
        for name, value in vars(self.load_module()).items():
            if isinstance(value, Pipeline) and id(value) not in found:
                found[id(value)] = value
                names.append(name)
        if len(found) > 1:
            raise ConfigError(
                self.path,
                f"exactly one Pipeline is wanted, found {', '.join(names)}",
                "Keep one, and make the others in functions or in files of their own.",
            )
        if not found:
            raise ConfigError(
                self.path,
                "exactly one Pipeline is wanted, found none",
                "Assign it to a name of the module: pipeline = Pipeline(...).",
            )
        return next(iter(found.values()))

    def load_module(self) -> ModuleType:
        """Execute the text as a module of its own, once per process. Raises ConfigError."""
        name = f"freshrank_pipeline_{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"
        if name in sys.modules:
            return sys.modules[name]
        module = ModuleType(name)
        module.__file__ = self.path
        # Registered before it is executed: typing looks annotations up by the name of the module.
        sys.modules[name] = module
        # For tracebacks, also on a machine that does not have the file.
        linecache.cache[self.path] = (
            len(self.text),
            None,
            self.text.splitlines(keepends=True),
            self.path,
        )
        try:
            exec(compile(self.text, self.path, "exec"), vars(module))
        except SyntaxError as error:
            del sys.modules[name]
            raise ConfigError(
                f"{self.path}:{error.lineno}", f"syntax error: {error.msg}", "Correct that line."
            ) from error
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise self._with_line(error, vars(module)) from error
        return module

    def _with_line(self, error: BaseException, names: Mapping[str, object]) -> ConfigError:
        """Name the line of the file, whose `names` are these, that raised `error`."""
        place = line_of(error, self.path)
        if isinstance(error, ConfigError):
            if declared := declared_line(self.text, error.place):
                place = f"{self.path}:{declared}"
            return ConfigError(f"{place}: {error.place}", error.problem, error.fix)
        if isinstance(error, ModuleNotFoundError) and self._is_neighbour(error.name):
            return ConfigError(
                place,
                f"it imports {error.name!r}, which lies beside it: every process of a run gets the "
                "text of this file, and no other file",
                "Put what it needs into this file, or into a package that is installed on every "
                "machine.",
            )
        fix = _nearest_parameter(str(error), names) or "Correct that line."
        return ConfigError(place, f"{type(error).__name__}: {error}", fix)

    def _is_neighbour(self, module: str | None) -> bool:
        """Whether a module of this name lies in the folder of the file."""
        path = Path(self.path).parent / (module or "").partition(".")[0]
        return bool(module) and (path.is_dir() or path.with_suffix(".py").exists())
