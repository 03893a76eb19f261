"""Whether the rows of compound entities can be found for each candidate of a request."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import TableField
from freshrank.feature_actors.views.feature_view import FeatureView


def check_compound_view(
    place: str, stream: Stream, view: type[FeatureView], context: Sequence[str | TableField]
) -> None:
    """Raise ConfigError where a part of the id of the view's entity is known of no candidate.

    A part is the key of the entity that requests name, or a field of the context: of the candidate
    itself, or of its row in a table. It has one type everywhere.
    """
    here = f"{view.__name__}.entity"
    own, parts = view.source.fields, view.entity.parts
    stream.fields.require(view.entity.key, here)  # requests and rows of a history name them so
    if (stream.key.key in parts) != (view.source.key.key in parts):
        raise ConfigError(
            here,
            f"the key of {stream.topic!r} is {stream.key.key!r}, and that of {view.source.topic!r} "
            f"{view.source.key.key!r}: only one of them is a part of its id",
            "Give both keys one name in the schemas.",
        )
    for part in parts:
        found = _fields_with(part, stream, context)
        if found is None:
            raise ConfigError(
                here,
                f"its part {part!r} is not in the context, so no candidate names its row",
                f'Add "{part}", or the field of a table, to {place}.context.',
            )
        now, wanted = found[part].kind.value.__name__, own[part].kind.value.__name__
        if now != wanted:
            raise ConfigError(
                here,
                f"its part {part!r} is {wanted} in {view.source.topic!r}, and {now} in the context",
                "Give both the same type.",
            )


def _fields_with(part: str, stream: Stream, context: Sequence[str | TableField]) -> Fields | None:
    """The fields among which a request finds `part`; None: it does not."""
    if part == stream.key.key:
        return stream.fields
    for given in context:
        if given == part:
            return stream.fields
        if isinstance(given, TableField) and given.name == part:
            return given.table.fields
    return None
