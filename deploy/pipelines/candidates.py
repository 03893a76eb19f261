"""The entities that candidates name by their keys: their tables, and the rows of these."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table, TableField
from freshrank.feature_actors.views.plan import FeaturePlan


def candidate_plans(tables: Sequence[Table]) -> Sequence[FeaturePlan]:
    """The plan of each entity that has tables, in the order in which they are first named."""
    by_entity: dict[str, list[Table]] = {}
    for table in tables:
        by_entity.setdefault(table.key.name, []).append(table)
    return [FeaturePlan([], latest) for latest in by_entity.values()]


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
        raise ConfigError(
            f"{place}.label",
            "with Labelled, shards would have to read the rows of tables as of each event, and the "
            "tables lie in other partitions",
            "Take a label that is Joined: impressions carry the rows that were served.",
        )
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
    if now is not wanted or stream.fields[key].optional:
        raise ConfigError(
            place,
            f"its {key!r} is {wanted.value.__name__}, and that of {stream.topic!r} is "
            f"{now.value.__name__}{' | None' if stream.fields[key].optional else ''}",
            "Give both the same type, without None.",
        )
    if not any(isinstance(given, TableField) and given.table is table for given in context):
        raise ConfigError(
            place,
            "no field of it is in the context",
            f"Write one, such as {_example(table)}, or leave the table out.",
        )


def _example(table: Table) -> str:
    name = next((name for name in table.fields if name != table.key.key), table.key.key)
    return f"table.{name}"


def candidate_specs(
    plans: Sequence[FeaturePlan], settings: ShardSettings, connectors: Connectors, state: str
) -> Sequence[PartitionSpec]:
    """Make the specification of the partitions of each entity that candidates name."""
    found, first_claim = [], connectors.partitions
    for plan in plans:
        parts = [plan.fingerprint, *(rows.source.placed_by for rows in plan.row_plans)]
        found.append(
            PartitionSpec(
                plan=plan,
                encoder=InputEncoder([plan], plan.row_plans[0].source, [], []),
                label=None,
                impressions_topic=None,
                fingerprint=hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16],
                settings=settings,
                first_claim=first_claim,
                state=state,
            )
        )
        first_claim += connectors.further_partitions[plan.entity.name]
    return found
