"""Examples of a world with five inputs, of which a model sees those of its layout."""

from __future__ import annotations

import numpy as np
from learning import Files, inputs
from source_offsets import upto

from freshrank.actors.messages import Examples, Floats, IdField, InputLayout, Inputs, OffsetRange
from freshrank.learner import checkpoints
from freshrank.learner.core import Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.models.base import Model, Rebindable
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.settings import LearnerSettings

NUMBERS = ("price", "views", "age")
USER, ITEM, RECENT, SHOP = IdField("user"), IdField("item"), IdField("recent", 3), IdField("shop")
FIELDS = (USER, ITEM, RECENT, SHOP)
WORLD = InputLayout(NUMBERS, FIELDS)


def layout_of(
    numbers: tuple[str, ...], *fields: IdField, other: tuple[str, ...] = ()
) -> InputLayout:
    """Inputs of the world; those that are `other` have another meaning."""
    names = [*numbers, *(field.name for field in fields)]
    meanings = tuple(f"another {name}" if name in other else name for name in names)
    return InputLayout(numbers, fields, meanings=meanings)


def seen(layout: InputLayout, rows: Inputs) -> Inputs:
    """Rows of the world, as they are with the inputs of a layout."""
    begins = dict(zip(FIELDS, (0, 1, 2, 5), strict=True))
    ids = [begins[one] + column for one in layout.fields for column in range(one.width)]
    dense = [NUMBERS.index(name) for name in layout.dense]
    return Inputs(np.ascontiguousarray(rows.dense[:, dense]), rows.ids[:, ids])


def chances(rows: Inputs) -> Floats:
    """float32[n]: how likely the label 1 is: by the user, by the age and by the shop."""
    odd = (rows.ids[:, [0, 5]] // 7919) % 2 == 1
    odds = 1.5 * (odd - 0.5).sum(axis=1) + 1.5 * rows.dense[:, 2]
    found: Floats = (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)
    return found


def work(layout: InputLayout, rows: int, number: int) -> Examples:
    """The offset range of this number, of so many `rows`."""
    given = inputs(WORLD, rows, seed=number)
    labels = np.random.default_rng(number).random(rows) < chances(given)
    return Examples(
        OffsetRange(0, upto(rows * number), upto(rows * (number + 1))),
        seen(layout, given),
        labels.astype(np.float32),
        1_000 + np.arange(rows * number, rows * (number + 1)),
    )


def fresh(model: Model, optimizer: Optimizer, layout: InputLayout | None = None) -> Learner:
    """A learner of `model`, bound to another layout where one is given."""
    if layout is not None:
        assert isinstance(model, Rebindable)
        model = model.rebound(layout)
    return Learner(model, optimizer, LearnerSettings(), differentiate=CompiledDifferentiator)


def feed(learner: Learner, begin: int, end: int, rows: int = 20) -> Learner:
    """Let it learn some offset ranges."""
    for number in range(begin, end):
        assert learner.offer(work(learner.model.layout, rows, number), 0.0).accepted
        learner.step(0, 0.0)
    return learner


def packed(learner: Learner) -> bytes:
    """Its checkpoint."""
    return b"".join(checkpoints.take(learner).pieces())


def carried(learner: Learner, layout: InputLayout) -> Learner:
    """One with other inputs that goes on from its checkpoint."""
    found = fresh(learner.model, learner.optimizer, layout)
    checkpoints.restore(found, Files(packed(learner)))
    return found
