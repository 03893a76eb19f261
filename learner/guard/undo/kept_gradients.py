"""Gradients as a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Bools, Floats, Gradient, Inputs, Probes, Version
from freshrank.actors.protocols import JsonValue
from freshrank.learner.guard.quarantine import range_from_json, range_to_json
from freshrank.learner.parameters.probes import joined_offsets

_ARRAYS = ("dense", "dense_squares", "moments", "keys", "rows", "row_squares", "labels", "scores")
# Not in checkpoints of before.
_CORRECTS, _COUNTS, _WEIGHTS = "corrects", "row_counts", "weights"
_OFFSETS = "probe_offsets"  # of slates
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
    offsets = joined_offsets([one.probes for one in gradients if one.probes is not None])
    if offsets is not None:
        found[f"{name}_{_OFFSETS}"] = offsets
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
    offsets = arrays.get(f"{name}_{_OFFSETS}")
    return Probes(Inputs(dense, ids), labels, shares, None if offsets is None else offsets[rows])
