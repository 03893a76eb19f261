"""All views of an entity, compiled: the tables whose rows hold their features."""

from __future__ import annotations

from collections.abc import Sequence

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.latest_row_plan import LatestRowPlan
from freshrank.feature_actors.views.row_plan import RowPlan
from freshrank.feature_actors.views.table_plan import TablePlan


class FeaturePlan:
    """The features of one entity: the tables whose rows hold them, and their names.

    There is a table for each stream that the views read, in the order in which they are first
    named, and one for each of `latest`, the tables that the entity keys. Raises ConfigError when a
    stream gives no feature, when two views or two columns have one name, or when views differ in
    their entity.
    """

    def __init__(self, views: Sequence[type[FeatureView]], latest: Sequence[Table] = ()) -> None:
        if views or not latest:
            _check_views(views)
        by_stream: dict[Stream, list[type[FeatureView]]] = {}
        for view in views:
            by_stream.setdefault(view.source, []).append(view)
        self.tables: tuple[TablePlan, ...] = tuple(map(TablePlan, by_stream.values()))
        self.latest: tuple[LatestRowPlan, ...] = tuple(map(LatestRowPlan, latest))
        self.row_plans: tuple[RowPlan, ...] = (*self.tables, *self.latest)
        """All of them: those of views, then those of tables."""
        self.entity: Entity = self.row_plans[0].entity
        names = [name for table in self.tables for name in table.columns]
        names += [field.name for table in self.tables for field in table.id_fields]
        _check_unique("feature column", names)
        self.fingerprint = "".join(plan.fingerprint for plan in self.row_plans)
        """16 hex digits a table: equal for definitions whose rows mean the same."""
        self.former_fingerprint = "".join(plan.former_fingerprint for plan in self.row_plans)

    @property
    def rebuilds(self) -> bool:
        """Whether its topics hold all that the rows are made of: those of tables are compacted."""
        return not self.tables

    @property
    def bytes_per_entity(self) -> int:
        """The size of an entity's rows in all tables."""
        return sum(plan.bytes_per_entity for plan in self.row_plans)

    def describe(self) -> str:
        """For people: a table of bytes and hops for each table of rows."""
        return "\n".join(plan.describe() for plan in self.row_plans)


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
