"""Whether context and label of a pipeline can be used, and go together."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.encoding.context_entries import DeclaredEntry, NumberOf, fields_of
from freshrank.feature_actors.encoding.entries.made_numbers import Age, ListPosition
from freshrank.feature_actors.encoding.entries.user_agents import AgentPart
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import TableField


def check_context(
    place: str,
    streams: Sequence[Stream],
    context: Sequence[DeclaredEntry],
    label: Joined | Labelled,
) -> list[str | TableField]:
    """The entries that may name an entity or an item: all but the stream's numbers.

    Raises ConfigError when the context, or the label beside it, cannot be taken from events.
    """
    stream = streams[0]
    _check_entries(f"{place}.context", stream, context)
    _check_label(streams, label)
    for index, name in enumerate(fields_of(context)):
        if name in label.own_fields:
            raise ConfigError(
                f"{place}.context[{index}]",
                f"the label is made of {name!r}, so a model that is given it learns nothing",
                "Leave it out; what only selects the events to learn from goes into among=...",
            )
    named = [
        one
        for one in context
        if not (isinstance(one, NumberOf | Age | AgentPart) and isinstance(one.of, str))
    ]
    _check_position(place, context, label)
    if isinstance(label, Joined):
        _check_on(f"{place}.label.on", stream, named, label.on)
    return fields_of(named)


def _check_label(streams: Sequence[Stream], label: Joined | Labelled) -> None:
    """Raise ConfigError where the label does not fit the first stream."""
    first, *others = streams
    try:
        label.check(first.fields)
    except ConfigError as error:
        if not others:
            raise
        fit = [one for one in others if label.fields_read() <= set(one.fields)]
        fix = f"Labels are of the events of the first stream, {first.topic!r}. " + (
            f"Write {fit[0].topic!r} first in streams=[...]." if fit else error.fix
        )
        raise ConfigError(error.place, error.problem, fix) from error


def _check_entries(place: str, stream: Stream, context: Sequence[DeclaredEntry]) -> None:
    if isinstance(context, str):
        raise ConfigError(place, "a string, not a list of fields", f'Write ["{context}"].')
    if not isinstance(context, Sequence):
        raise ConfigError(
            place,
            f"{context!r} is no list of fields",
            'Write what a candidate carries, as in ["item_id"].',
        )
    for index, name in enumerate(context):
        if not isinstance(name, DeclaredEntry):
            raise ConfigError(
                f"{place}[{index}]",
                f"{name!r} is no field",
                'Write its name, as in "item_id", or that of a table, as in catalogue.price.',
            )
        if isinstance(name, str):
            stream.fields.require_own(name, f"{place}[{index}]")


def _check_position(place: str, context: Sequence[DeclaredEntry], label: Joined | Labelled) -> None:
    if isinstance(label, Labelled) and any(isinstance(one, ListPosition) for one in context):
        raise ConfigError(
            f"{place}.context",
            "an event that carries its own label was in no list, so it has no position",
            "Leave it out, or join the label with impressions: Joined(...).",
        )


def _check_on(place: str, stream: Stream, context: Sequence[DeclaredEntry], on: str) -> None:
    if on == stream.key.key:
        raise ConfigError(
            place,
            f"{on!r} names the entity, not the item that was shown",
            "Name the field of the item that was shown.",
        )
    if on not in context:
        raise ConfigError(
            place,
            f"{on!r} is not in the context, so no impression carries it",
            f'Add "{on}" to context.',
        )


def check_relative(place: str, relative: Sequence[str], label: Joined | Labelled) -> None:
    """Raise ConfigError for differences from a median where there is none.

    Examples of a label that events carry come from no list, and all candidates of one are scored as
    if they had one position.
    """
    if "position" in relative:
        raise ConfigError(
            f"{place}.relative", "all candidates are scored at one position", "Leave it out."
        )
    if relative and isinstance(label, Labelled):
        raise ConfigError(
            f"{place}.relative",
            "an event that carries its own label was in no list of candidates",
            "Leave it out, or join the label with impressions: Joined(...).",
        )
