"""The entities that candidates name by their keys: their views, their tables and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import ConfigError
from freshrank.deploy.pipelines.checks.compound_checks import check_compound_view
from freshrank.deploy.pipelines.made_for import candidates_made_for
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table, TableField
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.feature_actors.views.table_plan import TablePlan


def candidate_plans(
    views: Sequence[type[FeatureView]], tables: Sequence[Table]
) -> Sequence[FeaturePlan]:
    """The plan of each entity that has views or tables, by name; compound ones come last."""
    entities = [*(view.entity for view in views), *(table.key for table in tables)]
    names = [name for _, name in sorted({(entity.compound, entity.name) for entity in entities})]
    for entity in entities:
        first = next(other for other in entities if other.name == entity.name)
        if entity != first:
            raise ConfigError(
                f"Entity({entity.name!r})",
                f"its key is {first.key!r} in one place and {entity.key!r} in another",
                "Use one Entity, whose key is one field of streams and tables.",
            )
    return [
        FeaturePlan(
            [view for view in views if view.entity.name == name],
            [table for table in tables if table.key.name == name],
        )
        for name in names
    ]


def check_candidate_views(
    place: str,
    stream: Stream,
    views: Sequence[type[FeatureView]],
    context: Sequence[str | TableField],
    label: Joined | Labelled,
) -> None:
    """Raise ConfigError when a view of an entity that candidates name does not go with the rest."""
    for view in views:
        if isinstance(label, Labelled) and view.source is not stream:
            raise ConfigError(
                f"{view.__name__}.source",
                f"with Labelled, rows of {view.entity.name!r} are read as of each event of "
                f"{stream.topic!r}, so they have to be made of these events alone",
                "Give the view that source, or take a label that is Joined: impressions carry the "
                "rows that were served.",
            )
        if view.entity.compound:
            check_compound_view(place, stream, view, context)
            continue
        if view.entity.key not in context:
            raise ConfigError(
                f"{view.__name__}.entity",
                f"its key {view.entity.key!r} is not in the context, so no candidate names its row",
                f'Add "{view.entity.key}" to context, or take the entity {stream.key.name!r}.',
            )
        key = view.entity.key
        now, wanted = stream.fields[key].kind, view.source.fields[key].kind
        if now is not wanted:
            raise ConfigError(
                f"{view.__name__}.entity",
                f"its {key!r} is {wanted.value.__name__} in {view.source.topic!r}, and that of "
                f"{stream.topic!r} is {now.value.__name__}",
                "Give both the same type.",
            )


def check_tables(
    place: str,
    stream: Stream,
    tables: Sequence[Table],
    context: Sequence[str | TableField],
    label: Joined | Labelled,
) -> None:
    """Raise ConfigError when a table does not go with the pipeline's stream, context or label."""
    for number, given in enumerate(context):
        if isinstance(given, TableField) and given.table not in tables:
            raise ConfigError(
                f"{place}.context[{number}]",
                f"{given.table.topic!r} is no table of the pipeline",
                f"Write tables=[...] with the Table object of {given.table.topic!r}.",
            )
        if not isinstance(given, str | TableField):
            raise ConfigError(
                f"{place}.context[{number}]",
                f"{given!r} is no field",
                'Write the name of a field of the stream ("item_id") or a field of a table '
                "(catalogue.price).",
            )
    if isinstance(tables, Table) or not isinstance(tables, Sequence):
        raise ConfigError(f"{place}.tables", f"{tables!r} is no list", "Write tables=[...].")
    if tables and isinstance(label, Labelled):
        raise _labelled(place)
    for number, table in enumerate(tables):
        _check_table(f"{place}.tables[{number}]", stream, table, tables[:number], context)


def _check_table(
    place: str,
    stream: Stream,
    table: Table,
    before: Sequence[Table],
    context: Sequence[str | TableField],
) -> None:
    if not isinstance(table, Table):
        raise ConfigError(place, f"{table!r} is no table", "Write Table(...).")
    if table.topic in [stream.topic, *(other.topic for other in before)]:
        raise ConfigError(place, f"topic {table.topic!r} is given twice", "Leave one of them out.")
    if table.key.name == stream.key.name:
        raise ConfigError(
            place,
            f"its rows are of {table.key.name!r}, the entity that requests name",
            "Give tables of entities that candidates name, such as items.",
        )
    key = table.key.key
    if key not in context:
        raise ConfigError(
            place,
            f"its rows are keyed by {key!r}, which is not in the context, so no candidate names "
            "its row",
            f'Add "{key}" to context.',
        )
    now, wanted = stream.fields[key].kind, table.fields[key].kind
    if now is not wanted:
        raise ConfigError(
            place,
            f"its {key!r} is {wanted.value.__name__}, and that of {stream.topic!r} is "
            f"{now.value.__name__}",
            "Give both the same type.",
        )
    if not any(isinstance(given, TableField) and given.table is table for given in context):
        raise ConfigError(
            place,
            "no field of it is in the context",
            f"Write one, such as {_example(table)}, or leave the table out.",
        )


def _labelled(place: str) -> ConfigError:
    return ConfigError(
        f"{place}.label",
        "with Labelled, shards would have to read the rows of items as of each event, and these "
        "lie in other partitions",
        "Take a label that is Joined: impressions carry the rows that were served.",
    )


def _example(table: Table) -> str:
    name = next((name for name in table.fields if name != table.key.key), table.key.key)
    return f"table.{name}"


def plans_beside(plans: Sequence[FeaturePlan], label: Joined | Labelled) -> Sequence[TablePlan]:
    """The tables that the shards of the stream's own key keep, too, for the label's examples."""
    return [] if isinstance(label, Joined) else [one for plan in plans for one in plan.tables]


def features_only(plan: FeaturePlan, settings: ShardSettings) -> PartitionSpec:
    """Make the specification of partitions of the plan's entity from which nothing is learned."""
    return PartitionSpec(
        plan=plan,
        encoder=InputEncoder([plan], plan.row_plans[0].source, [], []),
        label=None,
        impressions_topic=None,
        made_for=candidates_made_for(plan),
        settings=settings,
    )


def candidate_specs(
    plans: Sequence[FeaturePlan], settings: ShardSettings, connectors: Connectors, state: str
) -> Sequence[PartitionSpec]:
    """Make the specification of the partitions of each entity that candidates name."""
    found, first_claim = [], connectors.partitions
    for plan in plans:
        spec = features_only(plan, settings)
        found.append(replace(spec, first_claim=first_claim, state=state))
        first_claim += connectors.further_partitions[plan.entity.name]
    return found
