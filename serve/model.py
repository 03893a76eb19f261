"""The weights that a replica answers with: what is known of them, and waiting for newer ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from freshrank.actors.clock import Clock
from freshrank.actors.errors import RequestError, StaleParameters
from freshrank.actors.messages import Cut, Version
from freshrank.actors.protocols import JsonValue


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
    def applied(self) -> Mapping[int, Cut]:
        """How far each partition's examples are contained in the weights."""
        ...

    @property
    def newest_event_ms(self) -> int:
        """The newest event time contained in the weights."""
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
