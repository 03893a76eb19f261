"""Which arms an entity is in: by a hash, so that every replica says the same at any time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import xxhash

from freshrank.serve.experiments.definitions import Arm, Experiment
from freshrank.serve.experiments.exploration import Exploration

_HASHES = float(2**64)


@dataclass(frozen=True, slots=True)
class Assigned:
    """The arms that a request is answered by."""

    arms: Mapping[str, str] = field(default_factory=dict)
    """By experiment, the name of the arm."""
    sources: Sequence[str] = ()
    """Names of the sources to ask; empty: all."""
    exploration: Exploration | None = None
    pinned: str | None = None
    """The version of the weights that score; None: those that follow the learner."""


NOBODY = Assigned()
"""Of a request that is in no arm."""


def position(experiment: str, entity: str) -> float:
    """Where a canonical key stands in an experiment: uniform in [0, 1), and of each independent.

    >>> round(position("sources", "u1"), 3), round(position("model", "u1"), 3)
    (0.621, 0.645)
    """
    return xxhash.xxh64_intdigest(f"{experiment}\0{entity}".encode()) / _HASHES


class Experiments:
    """Assigns requests to the arms of a pipeline's experiments."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self._bounds = [
            (one, list(accumulate(arm.share for arm in one.arms))) for one in experiments
        ]

    def of(self, entity: str, *, retrieves: bool, pinned: str | None = None) -> Assigned:
        """The arms of an entity.

        Parameters
        ----------
        entity
            Its canonical key.
        retrieves
            Whether the request has candidates retrieved, from any source. An experiment on sources
            is about such requests only.
        pinned
            The version of the weights that the request wants. One on weights is about others only.
        """
        found: dict[str, Arm] = {}
        for experiment, bounds in self._bounds:
            if experiment.of_candidates and not retrieves:
                continue
            if experiment.pins and pinned is not None:
                continue
            place = bisect_right(bounds, position(experiment.name, entity))
            # Shares that are meant to sum up to 1 may sum up to a little less.
            if place == len(bounds) and bounds[-1] > 1 - 1e-9:
                place -= 1
            if place < len(bounds):
                found[experiment.name] = experiment.arms[place]
        if not found:
            return NOBODY if pinned is None else Assigned(pinned=pinned)
        sources = [one for arm in found.values() for one in arm.candidates or ()]
        exploring = [arm.explore for arm in found.values() if arm.explore is not None]
        return Assigned(
            {name: arm.name for name, arm in found.items()},
            tuple(source.name for source in sources),
            exploring[0] if exploring else None,
            next((arm.pinned for arm in found.values() if arm.pinned is not None), pinned),
        )
