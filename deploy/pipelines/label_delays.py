"""Whether features know a label before it is known."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.sums import Windowed
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.feature_view import FeatureView


def check_delays(
    features: Sequence[type[FeatureView]], stream: Stream, label: Joined | Labelled
) -> None:
    """Raise ConfigError for a feature that reads a label of `stream` too soon.

    A label of `Labelled.known_after` is in its event, and in the features of those that follow: a
    feature may read its fields only in windows that end as long before.
    """
    if isinstance(label, Joined) or not label.known_after_ms:
        return
    for view in features:
        for name, feature in view.features.items():
            told = sorted(_fields_of(name, feature) & label.own_fields)
            if view.source is stream and told and _delay_ms(feature) < label.known_after_ms:
                raise ConfigError(
                    f"{view.__name__}.{name}",
                    f"it reads {told[0]!r}, of which the label is made, and that is known "
                    f"{label.known_after} after its event",
                    f'Take an aggregate over windows with delay="{label.known_after}", such as '
                    "SmoothedRate.",
                )


def _fields_of(name: str, feature: Aggregate) -> frozenset[str]:
    layout = Layout()
    feature.lay_out(name, layout)
    return layout.fields_read()


def _delay_ms(feature: Aggregate) -> int:
    if not isinstance(feature, Windowed) or feature.delay is None:
        return 0
    return duration_ms(feature.delay, "delay")
