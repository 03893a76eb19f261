"""The weights that a replica answers with: what is known of them, and waiting for newer ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from freshrank.actors.clock import Clock
from freshrank.actors.errors import RequestError, StaleParameters
from freshrank.actors.messages import SourceOffsets, Version
from freshrank.actors.protocols import JsonValue

# Seconds between two looks at whether a new replica is ready: small beside the seconds that its
# process takes to come up.
_LOOK_S = 0.05


class FollowedModel(Protocol):
    """What keeps the weights at the learner's newest version (`actors.follower.Follower`)."""

    @property
    def version(self) -> Version | None:
        """None before the first snapshot."""
        ...

    @property
    def error(self) -> str | None:
        """What the learner's last answer failed with."""
        ...

    @property
    def applied(self) -> Mapping[int, SourceOffsets]:
        """How far each partition's examples are contained in the weights."""
        ...

    @property
    def newest_event_ms(self) -> int:
        """The newest event time contained in the weights."""
        ...

    @property
    def differs(self) -> bool:
        """Whether the weights are known not to be the learner's."""
        ...

    def lag_ms(self) -> int | None:
        """For how long, at most, newer weights were missing when the last answer was taken."""
        ...

    def age_ms(self) -> int | None:
        """Since the weights were published."""
        ...

    def silence_ms(self) -> int | None:
        """Since the learner last answered."""
        ...

    def status(self) -> dict[str, JsonValue]:
        """The figures of this copy."""
        ...

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        """Come back when the weights are at least `version`; raises StaleParameters."""
        ...

    async def run(self) -> None:
        """Follow for ever."""
        ...


async def wait_for_version(model: FollowedModel, wanted: Version, timeout_s: float) -> None:
    """Come back when the weights are at least `wanted`; raises StaleParameters."""
    if model.version is None or model.version < wanted:
        await model.wait_for(wanted, timeout_s)


async def wait_for_age(
    model: FollowedModel, longest_ms: int, timeout_s: float, clock: Clock
) -> None:
    """Come back when the weights are at most `longest_ms` old; raises RequestError (409)."""
    deadline = clock.monotonic() + timeout_s
    while True:
        age, held = model.age_ms(), model.version
        if age is not None and age <= longest_ms:
            return
        following = Version(0, 0) if held is None else Version(held.epoch, held.step + 1)
        try:
            await model.wait_for(following, max(0.0, deadline - clock.monotonic()))
        except StaleParameters as error:
            known = "no weights have arrived" if age is None else f"the newest are {age} ms old"
            reason = f"at most {longest_ms} ms are wanted, {known}, after {timeout_s} s"
            raise RequestError("max_model_age_ms", reason, status=409) from error


async def wait_to_be_ready(
    missing: Callable[[], Awaitable[Mapping[str, str]]], timeout_s: float, clock: Clock
) -> None:
    """Come back when nothing is missing, or after `timeout_s`."""
    deadline = clock.monotonic() + timeout_s
    while clock.monotonic() < deadline and await missing():
        await clock.sleep(_LOOK_S)


class Admission:
    """What keeps a replica's weights from being answered with: at its start, and when damaged.

    Once they have been close to the learner's, a learner that is away keeps nobody from answering:
    the age of the weights tells then.
    """

    def __init__(self, model: FollowedModel, longest_lag_ms: int) -> None:
        self._model = model
        self._longest_lag_ms = longest_lag_ms
        self._admitted = False

    def missing(self) -> str | None:
        """Why the weights will not do; None when they will."""
        model, lag_ms = self._model, self._model.lag_ms()
        if model.version is None or lag_ms is None:
            return model.error or "no weights have arrived yet"
        if model.differs:
            return f"not the learner's weights, which are on their way ({model.error})"
        if not self._admitted and lag_ms > self._longest_lag_ms:
            return f"{lag_ms} ms behind the learner, at most {self._longest_lag_ms} to begin with"
        self._admitted = True
        return None
