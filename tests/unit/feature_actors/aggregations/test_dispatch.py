"""The registry of operations: every public aggregate compiles to one, under a number of its own."""

from __future__ import annotations

import inspect
from typing import Any

from naive import stream, user

import freshrank
from freshrank import DistinctCount, FeatureView, LastK, col
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.dispatch import OPERATIONS
from freshrank.feature_actors.aggregations.kernel_types import OPCODE
from freshrank.feature_actors.views.table_plan import TablePlan

# A value for each argument that an aggregate may have; another where it wants a condition.
ARGUMENTS = {
    "of": "item_id", "by": "item_id", "windows": ["1s"], "k": 3, "half_life": "1s", "expected": 0.1,
    "short": "1s", "long": "10s", "boundaries": [1, 2], "between": (1, 9), "gap": "1s",
}  # fmt: skip
CONDITIONS = {"of": col.type == "order", "among": col.type == "view"}


def public_aggregates() -> list[Aggregate]:
    """One of each, and of each that an argument gives an operation of its own."""
    made: list[Aggregate] = [
        LastK("item_id", k=3, repeats=False),
        DistinctCount("item_id", windows=["1s"], error=0.1),
    ]
    for name in freshrank.__all__:
        kind: Any = getattr(freshrank, name)
        if isinstance(kind, type) and issubclass(kind, Aggregate):
            parameters = inspect.signature(kind).parameters
            wanted: dict[str, Any] = {
                name: (CONDITIONS if of.annotation == "Expression" else ARGUMENTS)[name]
                for name, of in parameters.items()
                if name in {*ARGUMENTS, *CONDITIONS}
            }
            made.append(kind(**wanted))
    return made


def opcode_of(aggregate: Aggregate) -> int:
    body = {"entity": user, "source": stream, "feature": aggregate}
    plan = TablePlan([type("View", (FeatureView,), body)])
    return int(plan.program[0, OPCODE])


def test_every_public_aggregate_has_an_operation_and_an_opcode_of_its_own() -> None:
    registered = [operation.opcode for operation in OPERATIONS]
    assert registered == sorted(set(registered))
    assert sorted(map(opcode_of, public_aggregates())) == registered
    assert len(registered) >= 15
