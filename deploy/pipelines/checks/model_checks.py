"""What a pipeline requires of its model and its optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.learner.models.base import ModelSpec
from freshrank.learner.models.losses import DownSampled, LogLoss, Loss, PlackettLuceLoss


def fitted(place: str, model: ModelSpec, label: Joined | Labelled) -> ModelSpec:
    """The model with the loss that the label needs; raises ConfigError where it cannot have it."""
    return _listwise(place, _down_sampled(place, _classified(model, label), label), label)


def _down_sampled(place: str, model: ModelSpec, label: Joined | Labelled) -> ModelSpec:
    """The model with the loss that undoes the down-sampling of the label's negatives.

    Raises ConfigError where its loss cannot be exchanged, or gives no probabilities.
    """
    if label.negatives_kept == 1.0:
        return model
    before: Loss | None = getattr(model, "loss", None)
    if before is not None and before.with_classes(()) is not None:
        raise ConfigError(
            "negatives_kept",
            "of several classes none is the negative one, which negatives_kept takes a share of",
            "Leave it out.",
        )
    if before is None or not dataclasses.is_dataclass(type(model)):
        raise ConfigError(
            place,
            f"{model!r} has no `loss` to be corrected for negatives_kept={label.negatives_kept}",
            "Take one of a probability, such as LogisticRegression(), or leave negatives_kept out; "
            "a model of your own has to be a dataclass with a field `loss`.",
        )
    loss = DownSampled(before, label.negatives_kept)
    return _with_loss(model, loss)


def _classified(model: ModelSpec, label: Joined | Labelled) -> ModelSpec:
    """The model with the classes of the label, where its loss is of classes."""
    loss: Loss | None = getattr(model, "loss", None)
    if loss is None or not isinstance(label, Labelled):
        return model
    loss = loss.with_classes(label.class_names)
    if loss is None:
        return model
    return _with_loss(model, loss)


def _listwise(place: str, model: ModelSpec, label: Joined | Labelled) -> ModelSpec:
    """The model with the loss of a choice in a list, where the label is listwise.

    Raises ConfigError where its loss is another one than `LogLoss`, or cannot be exchanged.
    """
    if not isinstance(label, Joined) or not label.listwise:
        return model
    loss: Loss | None = getattr(model, "loss", None)
    if loss != LogLoss() or not dataclasses.is_dataclass(type(model)):
        raise ConfigError(
            place,
            "a listwise label is learned by the loss of Plackett and Luce in place of the log "
            f"loss, and {model!r} has {loss!r}",
            "Take LogisticRegression() or DeepFM() as they are, or leave listwise out; a model of "
            "your own has to be a dataclass with a field `loss` of LogLoss().",
        )
    return _with_loss(model, PlackettLuceLoss())


def _with_loss(model: ModelSpec, loss: Loss) -> ModelSpec:
    changed: ModelSpec = dataclasses.replace(cast("Any", model), loss=loss)
    return changed


def check_target(
    place: str, loss: Loss, label: Joined | Labelled, candidates: Sequence[object]
) -> None:
    """Raise ConfigError where the loss is of other labels, or lists are made of classes."""
    names = label.class_names if isinstance(label, Labelled) else ()
    of_classes = loss.with_classes(names) is not None
    if isinstance(label, Joined) and (of_classes or not loss.binary):
        what = "tells classes apart" if of_classes else f"predicts numbers, by its {loss.name}"
        raise ConfigError(
            f"{place}.model",
            f"it {what}, and a Joined label is 0 or 1: whether an item was clicked",
            "Take a model of two outcomes, such as LogisticRegression(), or a label of events: "
            'Labelled(target="seconds"), Labelled(target="kind", classes=["a", "b"]).',
        )
    if loss.classes != names or (of_classes and not names):
        has = f"tells {len(loss.classes)} classes apart" if loss.classes else "is of one output"
        raise ConfigError(
            f"{place}.model",
            f"its {loss.name} {has}, and the label has {len(names)} classes",
            'Take SoftmaxRegression() with Labelled(target="kind", classes=["a", "b"]), or another '
            "model with another label.",
        )
    if names and candidates:
        raise ConfigError(
            f"{place}.candidates",
            "recommendations are in the order of one score, and the model gives one for each class",
            "Leave them out, or take a label with positive=...",
        )
    if isinstance(label, Labelled) and not names:
        _check_numbers(place, loss, of_numbers=label.target is not None)


def _check_numbers(place: str, loss: Loss, *, of_numbers: bool) -> None:
    """Raise ConfigError where one of loss and label is of numbers, and the other of 0 and 1."""
    if loss.binary and of_numbers:
        raise ConfigError(
            f"{place}.model",
            f"its {loss.name} is of labels that are 0 or 1, not of numbers",
            "Take a regression, such as LinearRegression(), or a label with positive=...",
        )
    if not loss.binary and not of_numbers:
        raise ConfigError(
            f"{place}.model",
            f"it predicts numbers, by its {loss.name}, and a label with positive=... is 0 or 1",
            "Take a model of two outcomes, such as LogisticRegression(), or name the number: "
            'Labelled(target="seconds").',
        )


def check_learned(place: str, value: object, protocol: type, example: str) -> None:
    """Raise ConfigError unless `value` implements `protocol` and has a lasting ``repr``."""
    name = place.rpartition(".")[2]
    if isinstance(value, type):
        written = f"Write {name}={value.__name__}(...)."
        raise ConfigError(place, f"{value.__name__} is a class", written)
    if not isinstance(value, protocol):
        raise ConfigError(place, f"{value!r} is no {protocol.__name__}", f"Write {name}={example}.")
    if " object at 0x" in repr(value):
        raise ConfigError(
            place,
            f"the fingerprint of checkpoints is made of {value!r}, an address in memory",
            "Make it, and what it holds, a frozen dataclass.",
        )
