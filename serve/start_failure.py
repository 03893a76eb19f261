"""Why a replica could not start, as text that passes through Ray Serve.

Serve keeps the text of the exception that ends the start of a replica, amid tracebacks of its own,
and neither its type nor its parts. The replica puts a line into that text that says both.
"""

from __future__ import annotations

import re
import traceback

import msgspec

from freshrank.actors.errors import (
    ConfigError,
    FreshrankError,
    StartFailed,
    Unavailable,
    bounded,
)

# Begins the line. It ends with JSON, which has no line break.
_MARK = "freshrank cannot start: "

_FIND = re.compile(re.escape(_MARK) + r"(\{.*\})")


class StartFailure(msgspec.Struct, frozen=True):
    """The exception that ended the start of a replica."""

    text: str
    """Its message; before it the name of its type, where that is none of ours."""
    traceback: str
    parts: tuple[str, str, str] | None
    """Place, problem and fix of a `ConfigError`."""
    retried: bool
    """Whether a later try may succeed: another process has not answered."""

    def error(self) -> FreshrankError:
        r"""What the driver raises for it.

        >>> failure = failure_in(marked(ConfigError("shop.py:3", "it has no key", "Give one.")))
        >>> failure.error()
        ConfigError('shop.py:3: it has no key. Give one.')
        >>> print(str(failure_in(marked(KeyError("price"))).error()).partition("\n")[0])
        a replica of the endpoint cannot start: KeyError: 'price'
        """
        if self.parts is not None:
            return ConfigError(*self.parts)
        return StartFailed(f"a replica of the endpoint cannot start: {self.text}\n{self.traceback}")


def marked(error: Exception) -> str:
    """The line about `error`, for a text that Serve keeps."""
    known = isinstance(error, FreshrankError)
    failure = StartFailure(
        str(error) if known else bounded(f"{type(error).__name__}: {error}"),
        "".join(traceback.format_exception(error)),
        (error.place, error.problem, error.fix) if isinstance(error, ConfigError) else None,
        isinstance(error, Unavailable),
    )
    return _MARK + msgspec.json.encode(failure).decode()


def failure_in(text: str) -> StartFailure | None:
    """The failure of which `text` has a line; None: Serve, or the process, ended the start.

    >>> failure_in("The actor died unexpectedly before finishing this task.")
    """
    found = _FIND.search(text)
    return None if found is None else msgspec.json.decode(found[1], type=StartFailure)
