"""What a pipeline requires of its model and its optimiser."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.losses import Loss
from freshrank.learner.models.reweighted import DownSampled


def down_sampled(place: str, model: ModelSpec, label: Joined | Labelled) -> ModelSpec:
    """The model with the loss that undoes the down-sampling of the label's negatives.

    Raises ConfigError where its loss cannot be exchanged, or gives no probabilities.
    """
    if label.negatives_kept == 1.0:
        return model
    before: Loss | None = getattr(model, "loss", None)
    if before is None or not dataclasses.is_dataclass(type(model)):
        raise ConfigError(
            place,
            f"{model!r} has no `loss` to be corrected for negatives_kept={label.negatives_kept}",
            "Take one of a probability, such as LogisticRegression(), or leave negatives_kept out; "
            "a model of your own has to be a dataclass with a field `loss`.",
        )
    loss = DownSampled(before, label.negatives_kept)
    changed: ModelSpec = dataclasses.replace(cast("Any", model), loss=loss)
    return changed


def check_learned(place: str, value: object, protocol: type, example: str) -> None:
    """Raise ConfigError unless `value` implements `protocol` and has a lasting ``repr``."""
    name = place.rpartition(".")[2]
    if isinstance(value, type) or not isinstance(value, protocol):
        raise ConfigError(place, f"{value!r} is no {protocol.__name__}", f"Write {name}={example}.")
    if " object at 0x" in repr(value):
        raise ConfigError(
            place,
            f"the fingerprint of checkpoints is made of {value!r}, an address in memory",
            "Make it, and what it holds, a frozen dataclass.",
        )
