"""Whether the streams of a pipeline go with each other, and its views with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from freshrank.actors.errors import ConfigError
from freshrank.deploy.pipelines.label_delays import check_delays
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.feature_view import FeatureView


def time_notes(streams: Sequence[Stream]) -> list[str]:
    """A line for each stream some of whose event times may not be readable."""
    notes: list[str] = []
    for stream in streams:
        moment = stream.fields.moment(stream.time, "time")
        always = moment is not None and moment.zoned is True
        if stream.time_field.kind is not int and stream.time_field.zone is None and not always:
            notes.append(
                f"{stream!r}.time: a text without an offset, as 2024-05-17T11:30:00, is rejected "
                f"(counted, and written to '{stream.topic}.dead'): give time_zone= if there are any"
            )
    return notes


def check_streams(
    place: str, streams: Sequence[Stream], label: Joined | Labelled, read: Collection[Stream]
) -> None:
    """Raise ConfigError when one of several streams does not go with those before it.

    `read` are those that views of the streams' own entity read.
    """
    first, *_ = streams
    for number, stream in enumerate(streams):
        here = f"{place}.streams[{number}]"
        if stream.topic in [other.topic for other in streams[:number]]:
            raise ConfigError(
                here, f"topic {stream.topic!r} is given twice", "Leave one of them out."
            )
        if _key_of(stream) != _key_of(first):
            raise ConfigError(
                here,
                f"its records are keyed by {_key_of(stream)}, those of {first.topic!r} by "
                f"{_key_of(first)}",
                "Give streams that are keyed by the same entity, with keys of one type.",
            )
        if isinstance(label, Labelled) and stream.placed_by != first.placed_by:
            # The row of a further stream is read where the event that is labelled lies.
            raise ConfigError(
                here,
                f"its partitioner is {stream.partitioner}, that of {first.topic!r} "
                f"{first.partitioner}, so that an entity's rows lie in two partitions",
                'Give streams of one partitioner, declare partitioner="any" for the one of '
                "crc32, or take a label that is Joined.",
            )
        if stream not in read:
            raise ConfigError(
                here,
                f"no view reads it whose entity is {stream.key.name!r}",
                f"List such a view of {stream.topic!r}, or leave the stream out.",
            )


def declared_streams(
    place: str, stream: Stream | None, streams: Sequence[Stream]
) -> tuple[Stream, ...]:
    """All streams of a pipeline that declares `stream` or `streams`. Raises ConfigError."""
    found: object = streams or (stream,)
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise ConfigError(
            f"{place}.streams", f"{found!r} is no list of streams", "Write streams=[...]."
        )
    if stream not in (None, found[0]):
        raise ConfigError(
            f"{place}.stream", "both stream and streams are given", "Give one of them."
        )
    for number, one in enumerate(streams):
        if not isinstance(one, Stream):
            raise ConfigError(
                f"{place}.streams[{number}]", f"{one!r} is no stream", "Write Stream(...)."
            )
    return tuple(found)


def check_views(
    place: str,
    features: Sequence[type[FeatureView]],
    streams: Sequence[Stream],
    label: Joined | Labelled,
) -> None:
    """Raise ConfigError for what is no feature view over one of the pipeline's streams.

    Also for no view at all, and for a view that would know the label too soon.
    """
    if not features:
        raise ConfigError(
            f"{place}.features", "no feature views are given", "Write features=[YourView]."
        )
    for view in features:
        if not (isinstance(view, type) and issubclass(view, FeatureView)):
            raise ConfigError(
                f"{place}.features",
                f"{_shown(view)} is not a feature view",
                "List classes that derive from FeatureView, without calling them.",
            )
        if view.source not in streams:
            topics = " and ".join(repr(stream.topic) for stream in streams)
            raise ConfigError(
                f"{view.__name__}.source",
                f"the view reads {view.source.topic!r}, the pipeline {topics}",
                "Give both the same Stream object, or list the other one in streams=[...], too.",
            )
    check_delays(features, streams[0], label)


def _shown(given: object) -> str:
    """A value as the user wrote it, as far as it tells; not where it lies in memory."""
    if type(given).__repr__ is object.__repr__:
        return f"an object of {type(given).__name__}"
    return repr(given)


def _key_of(stream: Stream) -> str:
    """The entity that keys a stream's records, and the type of the key: "user (str)"."""
    return f"{stream.key.name} ({stream.fields[stream.key.key].kind.value.__name__})"
