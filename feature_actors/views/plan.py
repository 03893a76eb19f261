"""All views of a pipeline, compiled: the tables that hold them, and their columns side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, IdField, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.aggregations.row_layout import Bag
from freshrank.feature_actors.streams.stream import Entity
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.table_plan import TablePlan


class FeaturePlan:
    """The features of one entity: the tables whose rows hold them, and their names.

    Raises ConfigError when there is no feature, when two views or two columns have one name, or
    when views differ in entity or stream.
    """

    def __init__(self, views: Sequence[type[FeatureView]]) -> None:
        _check_views(views)
        self.tables: tuple[TablePlan, ...] = (TablePlan(views),)
        self.entity: Entity = views[0].entity
        self.columns: tuple[str, ...] = tuple(
            name for table in self.tables for name in table.columns
        )
        """Names of the numeric features, in the order of `FeatureBlock.values`."""
        self.bags: tuple[Bag, ...] = tuple(
            bag for table in self.tables for bag in table.layout.bags
        )
        """The bags of ids, in the order of `FeatureBlock.ids`."""
        _check_unique("feature column", [*self.columns, *(bag.field.name for bag in self.bags)])
        self.id_fields: tuple[IdField, ...] = tuple(bag.field for bag in self.bags)
        self.fingerprint = "".join(table.fingerprint for table in self.tables)
        """16 hex digits a table: equal for definitions whose rows mean the same."""

    @property
    def bytes_per_entity(self) -> int:
        """The size of an entity's rows in all tables."""
        return sum(table.bytes_per_entity for table in self.tables)

    def read(self, rows: Sequence[Doubles], at_ms: Ints) -> FeatureBlock:
        """The features of ``n`` entities, each as of its time in `at_ms` int64[n].

        `rows` holds, for each table, the entities' rows float64[n, words].
        """
        blocks = [table.read(found, at_ms) for table, found in zip(self.tables, rows, strict=True)]
        return blocks[0] if len(blocks) == 1 else side_by_side(blocks)

    def describe(self) -> str:
        """For people: a table of bytes and hops for each table of rows."""
        return "\n".join(table.describe() for table in self.tables)


def side_by_side(blocks: Sequence[FeatureBlock]) -> FeatureBlock:
    """The features of the same ``n`` entities from several tables, as one block."""
    return FeatureBlock(*(np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)))


def _check_views(views: Sequence[type[FeatureView]]) -> None:
    if not any(view.features for view in views):
        raise ConfigError("features", "there is no feature", "List at least one view with one.")
    _check_unique("view", [view.__name__ for view in views])
    for view in views[1:]:
        for attribute in ("entity", "source"):
            first, other = getattr(views[0], attribute), getattr(view, attribute)
            if first != other:
                raise ConfigError(
                    f"{view.__name__}.{attribute}",
                    f"{other!r} differs from {first!r} of {views[0].__name__}",
                    "Views of one pipeline share entity and stream.",
                )


def _check_unique(what: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(name, f"there are two {what}s of this name", "Rename one of them.")
