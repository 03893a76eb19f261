"""All views of an entity, compiled: the tables whose rows hold their features."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.table_plan import TablePlan


class FeaturePlan:
    """The features of one entity: the tables whose rows hold them, and their names.

    There is a table for each stream that the views read, in the order in which they are first
    named. Raises ConfigError when a stream gives no feature, when two views or two columns have
    one name, or when views differ in their entity.
    """

    def __init__(self, views: Sequence[type[FeatureView]]) -> None:
        _check_views(views)
        by_stream: dict[Stream, list[type[FeatureView]]] = {}
        for view in views:
            by_stream.setdefault(view.source, []).append(view)
        self.tables: tuple[TablePlan, ...] = tuple(map(TablePlan, by_stream.values()))
        self.entity: Entity = views[0].entity
        names = [name for table in self.tables for name in table.columns]
        names += [field.name for table in self.tables for field in table.id_fields]
        _check_unique("feature column", names)
        self.fingerprint = "".join(table.fingerprint for table in self.tables)
        """16 hex digits a table: equal for definitions whose rows mean the same."""

    @property
    def bytes_per_entity(self) -> int:
        """The size of an entity's rows in all tables."""
        return sum(table.bytes_per_entity for table in self.tables)

    def describe(self) -> str:
        """For people: a table of bytes and hops for each table of rows."""
        return "\n".join(table.describe() for table in self.tables)


def _check_views(views: Sequence[type[FeatureView]]) -> None:
    with_features = {view.source for view in views if view.features}
    if not with_features:
        raise ConfigError("features", "there is no feature", "List at least one view with one.")
    _check_unique("view", [view.__name__ for view in views])
    for view in views:
        if view.entity.name != views[0].entity.name:
            raise ConfigError(
                f"{view.__name__}.entity",
                f"{view.entity!r} differs from {views[0].entity!r} of {views[0].__name__}",
                "Views of one pipeline are about the same entity.",
            )
        if view.source not in with_features:
            raise ConfigError(
                view.__name__,
                f"no view of {view.source.topic!r} has a feature",
                "Give it one, or leave the view out.",
            )


def _check_unique(what: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(name, f"there are two {what}s of this name", "Rename one of them.")
