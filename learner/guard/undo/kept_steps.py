"""Steps as a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from numpy.typing import NDArray

from freshrank.actors.messages import Version
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.quarantine import range_from_json, range_to_json
from freshrank.learner.guard.undo.kept_gradients import (
    gradient_arrays,
    gradients_from,
    gradients_to_json,
)
from freshrank.learner.guard.undo.step import Step
from freshrank.learner.parameters.training_state import Change, Rows


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
