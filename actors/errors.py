"""The errors that Freshrank raises on purpose.

::

    FreshrankError
    ├── ConfigError          a pipeline file or a setting is wrong (the user has to fix it)
    ├── BadRecord            a record cannot be used, or written (the record's fault)
    ├── RequestError         a REST request is wrong (the caller's fault)
    ├── Unavailable          another process did not answer in time (may be retried)
    │   └── Gone             ... and never will: it has ended
    ├── StaleParameters      the wanted weights did not arrive in time
    ├── SnapshotError        a snapshot or checkpoint file is refused
    │   └── DefinitionChanged  ... because the definitions it was made for have changed
    ├── ProgressError        offsets or versions would go back (a bug of ours)
    ├── IllegalTransition    an event came in a state that has no place for it (a bug of ours)
    ├── ChecksumMismatch     a copy of the weights differs from the learner's (fetched again)
    ├── StartFailed          a part ends again and again before it answers (the run ends)
    ├── DependencyLost       a server that the run started has ended for good (the run ends)
    └── PartFailed           another process raised an error of another kind (a bug of ours)

The distinction that matters at run time: ``Unavailable`` is retried with a bound,
``ChecksumMismatch`` makes a follower fetch all weights again, ``BadRecord`` goes to the
dead-letter topic, ``RequestError`` becomes a 4xx answer, and everything else stops the part
that met it and shows in its health.
"""

from collections.abc import Iterable
from difflib import get_close_matches

# Characters of a reason that are kept. A reason may repeat a record or a request, and goes into
# headers, answers and logs. Its end is kept because it names the field.
_REASON_HEAD, _REASON_TAIL = 300, 100


def bounded(reason: str) -> str:
    r"""Shorten a reason to fit into a header or a line of a log, whatever input it repeats.

    >>> bounded("a" * 1000).count("a"), bounded("half of a surrogate: \ud800")
    (400, 'half of a surrogate: \\ud800')
    """
    text = reason.encode(errors="backslashreplace").decode()
    if len(text) <= _REASON_HEAD + _REASON_TAIL:
        return text
    return f"{text[:_REASON_HEAD]} … {text[-_REASON_TAIL:]}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was meant by `name`, for an error to ask; None where none is near.

    Names that differ in upper and lower case only are as near as any.

    >>> nearest("prise", ["price", "brand"]), nearest("K", ["k"]), nearest("x", ["price"])
    ('price', 'k', None)
    """
    by_lower = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: object, known: Iterable[object], there_are: str = "There are:") -> str:
    """The fix of an error about a name that is not known: the one that was meant, or all of them.

    >>> did_you_mean("prise", ["price", "brand"])
    "Did you mean 'price'?"
    >>> did_you_mean("x", ["price", "brand"], "It has:")
    'It has: price, brand.'
    """
    names = [str(one) for one in known]
    near = nearest(str(name), names)
    return f"{there_are} {', '.join(names)}." if near is None else f"Did you mean {near!r}?"


class FreshrankError(Exception):
    """The root of the tree: to be caught at the outermost edge only.

    Errors cross processes: each survives pickling, whatever its constructor takes.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _without_constructor, (type(self), self.args), vars(self)


def _without_constructor(cls: type[FreshrankError], args: tuple[object, ...]) -> FreshrankError:
    return cls.__new__(cls, *args)


class ConfigError(FreshrankError):
    """A pipeline file or a setting is wrong.

    Parameters
    ----------
    place
        Where it is wrong, as the user wrote it (``"UserActivity.views.windows[0]"``).
    problem
        Why it is wrong.
    fix
        The advice: how to correct it.
    """

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(f"{place}: {problem.rstrip('.')}. {fix}")
        self.place = place
        self.problem = problem
        self.fix = fix


class BadRecord(FreshrankError):
    """A record cannot be decoded, or breaks a rule of ours or of its topic: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = bounded(reason)
        super().__init__(self.reason)


class RequestError(FreshrankError):
    """A REST request is wrong: `field` names the place, `reason` says what to change."""

    def __init__(self, field: str, reason: str, status: int = 422) -> None:
        self.field = bounded(field)
        self.reason = bounded(reason)
        super().__init__(f"{self.field}: {self.reason}")
        self.status = status


class TooManyRequests(RequestError):
    """A client sends more requests than it may; one passes in `wait_s` seconds."""

    def __init__(self, reason: str, wait_s: float) -> None:
        super().__init__("Authorization", reason, status=429)
        self.wait_s = wait_s


class Unavailable(FreshrankError):
    """Another process (`part`: ``"redis"``, ``"kafka"``, ``"learner"``) did not answer."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


class StoreFull(Unavailable):
    """The online store refuses rows: its memory is full."""


class Gone(Unavailable):
    """Another process did not answer and never will: it has ended."""


class StaleParameters(FreshrankError):
    """Weights of the wanted version or age did not arrive in time."""


class SnapshotError(FreshrankError):
    """A snapshot or checkpoint is truncated, damaged, foreign or of a newer format."""


class DefinitionChanged(SnapshotError):
    """The file was made for other definitions than those that want to read it."""


class ProgressError(FreshrankError):
    """An offset or a version would go back."""


class IllegalTransition(FreshrankError):
    """An event came in a state whose table of transitions does not list it."""


class ChecksumMismatch(FreshrankError):
    """A copy of the weights differs, or would differ, from the learner's."""


class StartFailed(FreshrankError):
    """Processes of a part end again and again before they answer: the run has to end."""


class DependencyLost(FreshrankError):
    """A server or a process of Ray has ended for good: the run that started it has to end."""


class PartFailed(FreshrankError):
    """Another process raised an error of another kind; the message holds its traceback."""
