"""Which examples of a gradient go along with it, to see where its step leads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Examples, Floats, Gradient, Inputs, Ints, Probes

# Of a gradient. More of them cost more, and hardly say more.
MOST_PROBES = 16


@kernel
def _sample(residuals: Floats, negative: bool, most: int) -> tuple[Ints, Doubles]:
    """At most `most` rows of one sign by systematic sampling, and how many each stands for."""
    count, total = 0, 0.0
    for residual in residuals:
        if (residual < 0.0) == negative:
            count += 1
            total += abs(residual)
    rows, shares = np.empty(most, np.int64), np.empty(most)
    mean = total / max(count, 1) if total > 0.0 else 1.0
    whole = total + count * mean
    found, reached = 0, 0.0
    for i in range(len(residuals)):
        if (residuals[i] < 0.0) == negative:
            size = abs(residuals[i]) + mean
            reached += size
            if count <= most:
                rows[found], shares[found] = i, 1.0
                found += 1
            elif found < most and reached * most >= (found + 0.5) * whole:
                rows[found], shares[found] = i, whole / (most * size)
                found += 1
    return rows[:found], shares[:found]


def choose(residuals: Floats, most: int = MOST_PROBES) -> tuple[Ints, Doubles]:
    """At most `most` rows of float32[n] residuals, and how many examples each stands for.

    Half of them have a prediction that is too low, half one that is too high, as far as there are
    so many: one positive in thirty would often be in no sample. Of each half those with a large
    residual are likelier to be taken, and stand for fewer.

    >>> rows, shares = choose(np.array([0.1] * 6 + [-0.9], np.float32), most=4)
    >>> rows.tolist(), shares.round(2).tolist()
    ([1, 4, 6], [3.0, 3.0, 1.0])
    """
    if len(residuals) <= most:
        return np.arange(len(residuals)), np.ones(len(residuals))
    low = _sample(residuals, True, most // 2)
    high = _sample(residuals, False, most // 2)
    return np.concatenate([high[0], low[0]]), np.concatenate([high[1], low[1]])


def probes_of(
    examples: Examples, ids: Ints, residuals: Floats, offsets: Floats | None = None
) -> Probes:
    """The probes of examples, of which `residuals` are the derivatives of the loss.

    They are float32[n], or float32[n, c] of classes: then that of each one's own class counts.
    `ids` int64[n, f] are those that the model was given: with the buckets as of the gradient.
    `offsets` float32[n] are those of slates.
    """
    if residuals.ndim == 2:
        residuals = residuals[np.arange(len(residuals)), examples.labels.astype(np.int64)]
    rows, shares = choose(residuals)
    if examples.weights is not None:
        shares = shares * examples.weights[rows]
    inputs = Inputs(examples.inputs.dense[rows], ids[rows])
    of_slates = None if offsets is None else offsets[rows]
    return Probes(inputs, examples.labels[rows], shares, of_slates)


def all_probes(gradients: Sequence[Gradient]) -> Probes | None:
    """The probes of all `gradients`; None where one of them has none."""
    probes = [gradient.probes for gradient in gradients if gradient.probes is not None]
    if len(probes) < len(gradients):
        return None
    if len(probes) == 1:
        return probes[0]
    return Probes(
        Inputs(
            np.concatenate([one.inputs.dense for one in probes]),
            np.concatenate([one.inputs.ids for one in probes]),
        ),
        np.concatenate([one.labels for one in probes]),
        np.concatenate([one.shares for one in probes]),
        joined_offsets(probes),
    )


def joined_offsets(probes: Sequence[Probes]) -> Floats | None:
    """The offsets of all probes; None where none has any."""
    found = [one.offsets for one in probes if one.offsets is not None]
    return np.concatenate(found) if found else None
