"""Steps that can be undone and gradients that are held back, and their form in a checkpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Bools, Floats, Gradient, Inputs, OffsetRange, Probes, Version
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.quarantine import range_from_json, range_to_json
from freshrank.learner.parameters.training_state import Change, Rows


@dataclass(slots=True)
class Step:
    """A published step that can still be undone."""

    base: Version
    version: Version
    """What it was published as."""
    ranges: list[OffsetRange]
    """The offset ranges that it learned from."""
    examples: int
    """Examples in those ranges."""
    change: Change
    """What undoes it."""
    gradients: list[Gradient] = field(default_factory=list)
    """What it learned, to be learned again; empty when a checkpoint of before did not keep it."""
    scored: int = 0
    """Examples that weights of which it is the newest step have scored so far."""
    relearned: bool = False
    """Whether it had been held back before: a second rollback makes it a suspect."""


@dataclass(slots=True)
class HeldBack:
    """A gradient that waits for the guard's verdict."""

    gradient: Gradient
    suspicion: str = ""
    """Why it may be harmful; empty when nothing speaks against it."""
    of_restored: bool = False
    """Whether the weights that a rollback restored have given it, as they have all others."""


def examples_of(held: Iterable[HeldBack]) -> int:
    """How many examples the gradients have."""
    return sum(len(one.gradient) for one in held)


class Rollback(NamedTuple):
    """What a rollback undoes, and what it refuses for good."""

    steps: list[Step]
    """To undo, oldest first."""
    refused: list[HeldBack]
    """Not to be learned, with the reason; empty where all is held back."""
    forgotten: list[Step]
    """Of the steps those whose gradients a checkpoint of before did not keep."""
    reason: str
    """The loss, and what it was before."""


_ARRAYS = ("dense", "dense_squares", "moments", "keys", "rows", "row_squares", "labels", "scores")
# Not in checkpoints of before.
_CORRECTS, _COUNTS, _WEIGHTS = "corrects", "row_counts", "weights"
_OF_KEYS = ("keys", "rows", "row_squares")
_OF_EXAMPLES = ("labels", "scores")
_OF_PROBES = ("dense", "ids", "labels", "shares")


def gradients_to_json(gradients: Sequence[Gradient]) -> list[JsonValue]:
    """What a checkpoint keeps of gradients as JSON; the rest is `gradient_arrays`."""
    return [
        [
            *range_to_json(gradient.offset_range),
            gradient.newest_event_ms,
            len(gradient.keys),
            len(gradient),
            0 if gradient.probes is None else len(gradient.probes),
        ]
        for gradient in gradients
    ]


def gradient_arrays(name: str, gradients: Sequence[Gradient]) -> dict[str, NDArray[Any]]:
    """The arrays of gradients, one after the other, as few arrays whatever their number."""
    found: dict[str, NDArray[Any]] = {}
    for part in _ARRAYS if gradients else ():
        arrays = [getattr(gradient, part) for gradient in gradients]
        joined = part in _OF_KEYS + _OF_EXAMPLES
        found[f"{name}_{part}"] = np.concatenate(arrays) if joined else np.stack(arrays)
    if gradients:
        found[f"{name}_{_CORRECTS}"] = np.concatenate([_corrects(one) for one in gradients])
        found[f"{name}_{_WEIGHTS}"] = np.concatenate([_weights(one) for one in gradients])
        found[f"{name}_{_COUNTS}"] = np.concatenate([one.row_counts for one in gradients])
    probes = [_probe_arrays(one.probes) for one in gradients if one.probes is not None]
    for number, part in enumerate(_OF_PROBES if probes else ()):
        found[f"{name}_probe_{part}"] = np.concatenate([arrays[number] for arrays in probes])
    return found


def _corrects(gradient: Gradient) -> Bools:
    none = np.zeros(len(gradient), np.bool_)
    return none if gradient.corrects is None else gradient.corrects


def _weights(gradient: Gradient) -> Floats:
    return np.ones(len(gradient), np.float32) if gradient.weights is None else gradient.weights


def _probe_arrays(probes: Probes) -> tuple[NDArray[Any], ...]:
    """In the order of `_OF_PROBES`."""
    return probes.inputs.dense, probes.inputs.ids, probes.labels, probes.shares


def gradients_from(
    kept: Sequence[Sequence[Any]],
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    topics: Sequence[str],
) -> list[Gradient]:
    """The gradients of `gradients_to_json` and `gradient_arrays`."""
    found: list[Gradient] = []
    corrects, counts, weights = (
        arrays.get(f"{name}_{part}") for part in (_CORRECTS, _COUNTS, _WEIGHTS)
    )
    key, example, probe = 0, 0, 0
    for number, (partition, begin, end, newest_event_ms, keys, examples, *more) in enumerate(kept):
        probes = more[0] if more else 0  # before, gradients had none
        places: dict[str, Any] = dict.fromkeys(_ARRAYS, number)
        places |= dict.fromkeys(_OF_KEYS, slice(key, key + keys))
        places |= dict.fromkeys(_OF_EXAMPLES, slice(example, example + examples))
        found.append(
            Gradient(
                offset_range=range_from_json((partition, begin, end), topics),
                base=Version(0, 0),  # of no use once it is accepted
                reference_scores=None,
                newest_event_ms=newest_event_ms,
                corrects=None if corrects is None else corrects[places["labels"]].astype(bool),
                row_counts=np.ones(keys, np.float32) if counts is None else counts[places["keys"]],
                weights=None if weights is None else weights[places["labels"]],
                probes=_probes_from(arrays, name, slice(probe, probe + probes)),
                **{part: arrays[f"{name}_{part}"][places[part]] for part in _ARRAYS},
            )
        )
        key, example, probe = key + keys, example + examples, probe + probes
    return found


def _probes_from(arrays: Mapping[str, NDArray[Any]], name: str, rows: slice) -> Probes | None:
    if rows.start == rows.stop:
        return None
    dense, ids, labels, shares = (arrays[f"{name}_probe_{part}"][rows] for part in _OF_PROBES)
    return Probes(Inputs(dense, ids), labels, shares)


class UndoLog:
    """The steps that are not validated yet, oldest first, and what has been scored since."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self._scored = 0
        """Examples that weights with the oldest of these steps in them have scored so far."""

    def score(self, gradient: Gradient) -> None:
        """Count the examples of `gradient` for the newest step that it was computed on."""
        for step in reversed(self.steps):
            if step.version <= gradient.base:
                step.scored += len(gradient)
                self._scored += len(gradient)
                break

    def validate(self, examples: int) -> None:
        """Drop the steps that weights have scored so many examples with."""
        while self.steps and self._scored >= examples:
            self._scored -= self.steps.popleft().scored

    def clear(self) -> None:
        """Drop all steps."""
        self.steps.clear()
        self._scored = 0

    def meta(self) -> list[JsonValue]:
        """What a checkpoint keeps as JSON; the rest is `arrays`."""
        return steps_to_json(self.steps)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the steps replaced and learned."""
        found: dict[str, NDArray[Any]] = {}
        for number, step in enumerate(self.steps):
            found |= step_arrays(f"step_{number}", step)
        return found

    def restore(
        self,
        meta: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, NDArray[Any]],
        topics: Sequence[str],
    ) -> None:
        """Go on from what `meta` and `arrays` gave (`topics`: see `range_from_json`)."""
        self.steps.extend(steps_from(meta, arrays, topics))
        self._scored = sum(step.scored for step in self.steps)


def steps_to_json(steps: Sequence[Step]) -> list[JsonValue]:
    """What a checkpoint keeps of steps, oldest first, as JSON; the rest is `step_arrays`."""
    scored = accumulate(step.scored for step in reversed(steps))
    found: list[JsonValue] = [*map(_step_to_json, reversed(steps), scored)]
    return found[::-1]


def _step_to_json(step: Step, scored: int) -> dict[str, JsonValue]:
    """`scored` counts the examples that weights with this step in them have scored."""
    return {
        "base": str(step.base),
        "version": str(step.version),
        "spans": [range_to_json(learned) for learned in step.ranges],
        "examples": step.examples,
        "judged": scored,
        "relearned": step.relearned,
        "gradients": gradients_to_json(step.gradients),
    }


def step_arrays(name: str, step: Step) -> dict[str, NDArray[Any]]:
    """What the step replaced and learned; none of these arrays is changed afterwards."""
    change = step.change
    found: dict[str, NDArray[Any]] = {
        f"{name}_dense": change.dense,
        f"{name}_moments": change.moments,
        f"{name}_added": change.added,
    }
    for part, rows in (("before", change.before), ("evicted", change.evicted)):
        found |= {f"{name}_{part}_{key}": array for key, array in rows._asdict().items()}
    return found | gradient_arrays(f"{name}_learned", step.gradients)


def steps_from(
    kept: Sequence[Mapping[str, Any]], arrays: Mapping[str, NDArray[Any]], topics: Sequence[str]
) -> list[Step]:
    """The steps of `steps_to_json` and `step_arrays`, of checkpoints of before, too."""
    steps = [_step_from(one, f"step_{number}", arrays, topics) for number, one in enumerate(kept)]
    for older, newer in pairwise(steps):
        older.scored -= newer.scored
    return steps


def _step_from(
    kept: Mapping[str, Any],
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    topics: Sequence[str],
) -> Step:
    """The step, its `scored` that of `_step_to_json`."""
    before, evicted = (
        Rows(*(arrays[f"{name}_{part}_{key}"] for key in Rows._fields))
        for part in ("before", "evicted")
    )
    added = arrays[f"{name}_added"].astype(bool)
    moments = arrays.get(f"{name}_moments", arrays["moments"])  # those of before had one scale
    return Step(
        base=Version.parse(kept["base"]),
        version=Version.parse(kept["version"]),
        ranges=[range_from_json(span, topics) for span in kept["spans"]],
        examples=kept["examples"],
        change=Change(arrays[f"{name}_dense"], moments, before, added, evicted, kept["examples"]),
        gradients=gradients_from(kept.get("gradients", ()), f"{name}_learned", arrays, topics),
        scored=kept["judged"],
        relearned=kept.get("relearned", False),
    )
