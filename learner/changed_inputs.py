"""A checkpoint of a model on other inputs, as the model on the inputs of now has it.

What belongs to inputs that stay is kept to the last bit: dense weights, the optimiser's state of
them, and the inputs' statistics. So is what belongs to none, such as the bias and the hidden
layers, and the whole table: its ids are mixed with the names of their fields, so that those of an
input that is new are not in it yet, and those of one that is gone are evicted in time. An id field
of a name that had another meaning finds the rows of the ids that both have. What is new begins as
in a model that has learned nothing.

An input without statistics is 0 whatever its values, so it changes no prediction before the first
step that learned of it. What a linear model predicts without an input is what it predicted, less
the part of that input.

The guard begins anew: its reference is the loss of other inputs. Steps that could still be undone
count as validated. Gradients that it held back are of weights that there are no more, and are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from freshrank.actors.errors import bounded
from freshrank.actors.messages import Doubles, Floats, Ints, OffsetRange
from freshrank.actors.messages.kept_layout import KeptLayout, LayoutChange
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.quarantine import range_from_json
from freshrank.learner.guard.rollback import RollbackLog
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.base import Model, Rebindable
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.state_columns import columns_before
from freshrank.learner.parameters.target_scale import initial_moments

REASON = "the inputs have changed"

# Arrays of what the guard can undo, and of what it holds back.
_OF_GUARD = re.compile(r"(step_\d+|held|isolated_\d+)_.*")


@dataclass(frozen=True)
class ChangedInputs:
    """By name, what became of the inputs of a model; and what was refused because of it.

    >>> before = KeptLayout((("price", "in euros"), ("age", "")), (("item", 1, ""),))
    >>> now = KeptLayout((("price", "in cents"),), (("item", 1, ""), ("user", 1, "")))
    >>> print(ChangedInputs.of(before, now))
    1 kept; new: user; gone: age; of another meaning, and so new: price
    """

    kept: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]
    other: tuple[str, ...]
    """Of a name that was there: its values, or the width of a bag, are others."""
    refused: tuple[OffsetRange, ...] = ()
    """Whose examples the guard held back."""
    examples_refused: int = 0

    @classmethod
    def of(cls, before: KeptLayout, now: KeptLayout) -> ChangedInputs:
        """The difference of two layouts."""
        were, are = _by_name(before), _by_name(now)
        both = [key for key in are if key in were]
        return cls(
            kept=_names(key for key in both if were[key] == are[key]),
            new=_names(key for key in are if key not in were),
            gone=_names(key for key in were if key not in are),
            other=_names(key for key in both if were[key] != are[key]),
        )

    def __str__(self) -> str:
        texts = {"new": self.new, "gone": self.gone, "of another meaning, and so new": self.other}
        named = [f"{text}: {bounded(', '.join(names))}" for text, names in texts.items() if names]
        return "; ".join([f"{len(self.kept)} kept", *named])

    def to_json(self) -> dict[str, JsonValue]:
        """For the status."""
        return {
            "kept": len(self.kept),
            "new": [*self.new],
            "gone": [*self.gone],
            "other": [*self.other],
            "examples_refused": self.examples_refused,
        }


def _by_name(layout: KeptLayout) -> dict[tuple[str, str], tuple[int, str]]:
    """Width and meaning; a number and an id field may have one name."""
    numbers = {("number", name): (1, meaning) for name, meaning in layout.dense}
    return numbers | {("ids", name): (width, meaning) for name, width, meaning in layout.fields}


def _names(keys: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, name in keys))


def carried_over(
    meta: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    model: Rebindable,
    optimizer: Optimizer,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], ChangedInputs]:
    """The (meta, arrays) of a checkpoint of the same model on other inputs, and what changed.

    The optimiser is the one that made it, and one of those that `has_state_by_weight` knows.
    """
    before, now = msgspec.convert(meta["inputs"], KeptLayout), KeptLayout.of(model.layout)
    change = LayoutChange(before, model.layout)
    kept = {name: array for name, array in arrays.items() if not _OF_GUARD.fullmatch(name)}
    size, places = model.rebound(before.layout).dense_size, model.places_before(change)
    dense = _dense(kept["dense"], columns_before(optimizer, size, places), model)
    kept |= {"dense": dense, "moments": _moments(kept["moments"], change, model)}
    held = _held_back(meta["watch"])
    told = replace(
        ChangedInputs.of(before, now),
        refused=tuple(range_from_json(one[:3], ()) for one in held),
        examples_refused=sum(one[5] for one in held),
    )
    watch = RollbackLog(GuardSettings(), model.loss).meta()
    return {**meta, "inputs": msgspec.to_builtins(now), "watch": watch}, kept, told


def _dense(before: Floats, columns: Ints, model: Model) -> Floats:
    """float32[1, p + q]: the row of the dense weights and their state."""
    initial, kept = model.initial(), columns >= 0
    found = np.zeros((1, len(columns)), np.float32)
    found[0, : len(initial)] = initial
    found[0, kept] = before[0, columns[kept]]
    return found


def _moments(before: Doubles, change: LayoutChange, model: Model) -> Doubles:
    """float64[r, d or d + 1]: of the inputs, and of the labels.

    An input has more rows where any is cleaned: of one that is not they are empty.
    """
    found, kept = initial_moments(model), change.dense >= 0
    inputs, rows = len(kept), min(len(found), len(before))
    found[:rows, :inputs][:, kept] = before[:rows, change.dense[kept]]
    found[:rows, inputs:] = before[:rows, len(change.before.dense) :]
    return found


def _held_back(watch: Mapping[str, Any]) -> list[Sequence[Any]]:
    """The gradients that the guard held back, as `gradients_to_json` gave them."""
    of_partitions = [one["held"] for one in watch["isolated"].values()]
    return [gradient for some in (watch["trial"]["held"], *of_partitions) for gradient in some]
