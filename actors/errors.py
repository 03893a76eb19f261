"""Every error that Freshrank raises on purpose, in one tree.

::

    FreshrankError
    ├── ConfigError          a pipeline file or a setting is wrong (the user's to mend)
    ├── BadRecord            a record of a topic cannot be used (the topic's fault)
    ├── RequestError         a REST request is wrong (the caller's fault)
    ├── Unavailable          an outside part did not answer in time (worth another try)
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
    """One record that cannot be decoded or breaks a stated rule; `reason` goes with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestError(FreshrankError):
    """A REST request is wrong: `field` names the place, `reason` what to mend."""

    def __init__(self, field: str, reason: str, status: int = 422) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.status = status


class Unavailable(FreshrankError):
    """An outside part (`part`: ``"redis"``, ``"kafka"``, ``"learner"``) did not answer."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


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
