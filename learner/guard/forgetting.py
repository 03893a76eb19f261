"""Ids that are forgotten: taken out of all that could bring their rows back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from freshrank.actors.messages import Bools, Gradient, Inputs, Ints, Probes
from freshrank.learner.guard.held_back import HeldBack
from freshrank.learner.guard.undo.step import Step
from freshrank.learner.parameters.training_state import Change, Rows


def forget_in(steps: Iterable[Step], held: Iterable[HeldBack], ids: Ints) -> None:
    """Let neither undoing `steps`, nor learning again what is kept, bring back rows of `ids`."""
    if not len(ids):
        return
    for step in steps:
        scrub(step.change, ids)
        step.gradients = [without_ids(gradient, ids) for gradient in step.gradients]
    for one in held:
        one.gradient = without_ids(one.gradient, ids)


def without_ids(gradient: Gradient, ids: Ints) -> Gradient:
    """The gradient of the same examples, which changes no rows of `ids`."""
    stays, probes = ~np.isin(gradient.keys, ids), gradient.probes
    return replace(
        gradient,
        keys=gradient.keys[stays],
        rows=gradient.rows[stays],
        row_squares=gradient.row_squares[stays],
        row_counts=gradient.row_counts[stays],
        probes=None if probes is None else _without(probes, ids),
    )


def scrub(change: Change, ids: Ints) -> None:
    """Let `change` be undone without bringing back rows of `ids`, as they were before it."""
    stays = ~np.isin(change.before.keys, ids)
    change.before, change.added = _at(change.before, stays), change.added[stays]
    change.evicted = _at(change.evicted, ~np.isin(change.evicted.keys, ids))


def _without(probes: Probes, ids: Ints) -> Probes:
    known = probes.inputs.ids
    absent = np.where(np.isin(known, ids), 0, known)
    return replace(probes, inputs=Inputs(probes.inputs.dense, absent))


def _at(rows: Rows, which: Bools) -> Rows:
    return Rows(rows.keys[which], rows.rows[which], rows.stamps[which])
