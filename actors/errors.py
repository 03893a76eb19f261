"""Every error that Freshrank raises on purpose, in one tree.

::

    FreshrankError
    ├── ConfigError          a pipeline file or a setting is wrong (the user's to mend)
    ├── BadRecord            a record cannot be used, or written (the record's fault)
    ├── RequestError         a REST request is wrong (the caller's fault)
    ├── Unavailable          an outside part did not answer in time (worth another try)
    │   └── Gone             ... and never will: its process has ended
    ├── StaleParameters      the wanted weights did not arrive in time
    ├── SnapshotError        a snapshot or checkpoint file is refused
    │   └── DefinitionChanged  ... because the definitions it was made for have changed
    ├── ProgressError        offsets or versions would go back (ours to mend)
    ├── ChecksumMismatch     a copy of the weights is not what the learner has (fetched anew)
    └── PartFailed           another process raised what nobody foresaw (ours to mend)

The distinction that matters at run time: ``Unavailable`` is retried with a bound,
``ChecksumMismatch`` makes a follower fetch all weights anew, ``BadRecord`` goes to the
dead-letter topic, ``RequestError`` becomes a 4xx answer, and everything else stops the part
that met it and shows in its health.
"""

# Characters of a reason that are kept: it may repeat what a record or a request says, and goes into
# headers, answers and logs. Its end is kept because it names the field.
_REASON_HEAD, _REASON_TAIL = 300, 100


def bounded(reason: str) -> str:
    r"""A reason that fits into a header or a line of a log, whatever input it repeats.

    >>> bounded("a" * 1000).count("a"), bounded("half of a surrogate: \ud800")
    (400, 'half of a surrogate: \\ud800')
    """
    text = reason.encode(errors="backslashreplace").decode()
    if len(text) <= _REASON_HEAD + _REASON_TAIL:
        return text
    return f"{text[:_REASON_HEAD]} … {text[-_REASON_TAIL:]}"


class FreshrankError(Exception):
    """The root: catch it at the outermost edge only.

    Every error survives pickling, whatever its constructor takes: it may cross processes.
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
        What is wrong, as the user wrote it (``"UserActivity.views.windows[0]"``).
    problem
        What is the matter with it.
    fix
        What to write instead.
    """

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(f"{place}: {problem}. {fix}")
        self.place = place
        self.problem = problem
        self.fix = fix


class BadRecord(FreshrankError):
    """One record that cannot be decoded or breaks a rule, of ours or of its topic's: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = bounded(reason)
        super().__init__(self.reason)


class RequestError(FreshrankError):
    """A REST request is wrong: `field` names the place, `reason` what to mend."""

    def __init__(self, field: str, reason: str, status: int = 422) -> None:
        self.field = bounded(field)
        self.reason = bounded(reason)
        super().__init__(f"{self.field}: {self.reason}")
        self.status = status


class Unavailable(FreshrankError):
    """An outside part (`part`: ``"redis"``, ``"kafka"``, ``"learner"``) did not answer."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


class Gone(Unavailable):
    """An outside part did not answer, and never will: its process has ended."""


class StaleParameters(FreshrankError):
    """Weights of the wanted version or age did not arrive in time."""


class SnapshotError(FreshrankError):
    """A snapshot or checkpoint is truncated, damaged, foreign or of a newer format."""


class DefinitionChanged(SnapshotError):
    """The file was made for other definitions than those that want to read it."""


class ProgressError(FreshrankError):
    """An offset or a version would go back."""


class ChecksumMismatch(FreshrankError):
    """A copy of the weights is not, or would not become, what the learner published."""


class PartFailed(FreshrankError):
    """Another process raised an error that is none of these; its own trace is the message."""
