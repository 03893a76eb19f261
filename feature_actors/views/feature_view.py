"""Feature views, as a pipeline file declares them.

>>> import msgspec
>>> from freshrank import Count, Entity, Stream, col
>>> class Click(msgspec.Struct):
...     event_id: str
...     user_id: str
...     type: str
...     ts: int
>>> user = Entity("user", key="user_id")
>>> clicks = Stream("clicks", id="event_id", time="ts", key=user, schema=Click)
>>> class Activity(FeatureView):
...     entity, source = user, clicks
...     views = Count(where=col.type == "view", windows=["5m", "1h"])
>>> list(Activity.features)
['views']
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.streams.stream import Entity, Stream


class _Body(dict[str, Any]):
    """The body of a view's class: naming a feature twice is an error, not a replacement."""

    def __init__(self, view: str) -> None:
        super().__init__()
        self._view = view

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self and isinstance(value, Aggregate):
            raise ConfigError(f"{self._view}.{name}", "it is defined twice", "Rename one of them.")
        super().__setitem__(name, value)


class _ViewType(type):
    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **options: Any) -> _Body:
        return _Body(name)


class FeatureView(metaclass=_ViewType):
    """Features of one entity from one stream: a subclass with one aggregate an attribute.

    The entity is that of the stream's key, or another whose key is a field of its events, or
    several (a compound entity).

    Raises ConfigError, naming the place and the fix, while the class is being made.
    """

    entity: ClassVar[Entity]
    source: ClassVar[Stream]
    features: ClassVar[Mapping[str, Aggregate]] = {}
    """The aggregates by name, those of a base view first."""

    def __init_subclass__(cls) -> None:
        _check_owner(cls)
        found = dict(cls.features)
        for name, value in vars(cls).items():
            if name.startswith("_") or name in ("entity", "source", "features"):
                continue
            if not isinstance(value, Aggregate):
                raise ConfigError(
                    f"{cls.__name__}.{name}",
                    f"{value!r} is not an aggregate",
                    "Take Count, Sum, Mean, LastK or another aggregate.",
                )
            place = f"{cls.__name__}.{name}"
            value.check(cls.source.fields.with_elements, place)
            value.each(cls.source.fields, place)
            found[name] = value
        cls.features = found


def _check_owner(view: type[FeatureView]) -> None:
    for attribute, kind in (("entity", Entity), ("source", Stream)):
        if not isinstance(getattr(view, attribute, None), kind):
            raise ConfigError(
                f"{view.__name__}.{attribute}",
                f"a view needs its {attribute}",
                f"Set it to an instance of {kind.__name__}.",
            )
    entity, source = view.entity, view.source
    if entity == source.key:
        return
    if entity.key == source.key.key or entity.name == source.key.name:
        raise ConfigError(
            f"{view.__name__}.entity",
            f"{entity!r} is not the key of {source.topic!r}, which is {source.key!r}",
            "Take that entity, or one of another name whose key is another field.",
        )
    place = f"{view.__name__}.entity.key"
    # An event without one of the fields, as some of a union of structs, is not of such an entity.
    source.fields.require_parts(entity.key, place)
