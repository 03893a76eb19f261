"""How the definitions that a state was made with were written, in the state folder.

Files of the state say what they are made of, in one spelling (`KeptTable`, `KeptLayout`). This is
for people: how a pipeline's file put it, and what no file of the state says.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias, cast

from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.record_files.json_record import JsonRecord
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.streams.expressions.conditions import Expression

Written: TypeAlias = Mapping[str, Mapping[str, str]]
"""By part, then by name: a text."""

RECORD = JsonRecord("definitions.json", dict[str, dict[str, str]])
"""The `Written` of a pipeline."""

_DECLARED = "as declared"
"""The part with the features as files declare them, by definition: several texts mean the same."""


def written(pipeline: Pipeline) -> Written:
    """The label, model and optimiser of a pipeline, and its features as its file declares them."""
    return {
        "label": {"label": repr(pipeline.label)},
        "model": {"model": repr(pipeline.model), "optimizer": repr(pipeline.optimizer)},
        _DECLARED: {
            column.definition: _declaration(aggregate)
            for plan in pipeline.plans.values()
            for table in plan.tables
            for column, aggregate in zip(table.columns_of_rows, table.aggregates, strict=True)
        },
    }


def as_declared(record: Written, text: str, *, types: bool = False) -> str:
    """A text in which definitions are as a file declares them, where that was recorded.

    With `types`, those of the fields that they are computed from are told, too.

    >>> record = {"as declared": {"sum(cost; None) of cost float": "Sum('cost')"}}
    >>> as_declared(record, "user of plays: sum(cost; None) of cost float")
    "user of plays: Sum('cost')"
    >>> as_declared(record, "user of plays: sum(cost; None) of cost float", types=True)
    "user of plays: Sum('cost') with cost: float"
    """
    known = record.get(_DECLARED, {})
    for definition in sorted(known, key=len, reverse=True):  # one may be a part of another
        _, of, fields = definition.rpartition(" of ")
        told = ", ".join(field.replace(" ", ": ") for field in fields.split(", "))
        text = text.replace(definition, known[definition] + f" with {told}" * (types and bool(of)))
    return text


def learned_otherwise(before: Written, now: Written) -> Mapping[str, tuple[str, str]]:
    """Of label, model and optimiser those that differ: what each was, and what it is.

    >>> was = {"label": {"label": "a"}, "model": {"model": "b", "optimizer": "c"}}
    >>> learned_otherwise(was, {**was, "model": {"model": "b", "optimizer": "d"}})
    {'optimizer': ('c', 'd')}
    """
    return {
        name: (before[part][name], text)
        for part in ("label", "model")
        for name, text in now[part].items()
        if name in before.get(part, {}) and before[part][name] != text
    }


def apart(what: str, was: str, now: str) -> str:
    """For people: in which arguments a label, model or optimiser differs from what it was.

    >>> apart("optimizer", "Adagrad(rate=0.1, epsilon=1e-06)", "Adagrad(rate=0.2, epsilon=1e-06)")
    'the optimizer is Adagrad with rate=0.2, and was with rate=0.1'
    >>> apart("optimizer", "Adagrad(rate=0.1)", "SGD(rate=0.1)")
    'the optimizer is SGD, and was Adagrad'
    """
    before, after = _call(was), _call(now)
    if before is None or after is None:
        return f"the {what} is {now}, and was {was}"
    (kind, arguments), (other, others) = after, before
    if kind != other:
        return f"the {what} is {kind}, and was {other}"
    names = [one for one in {**arguments, **others} if arguments.get(one) != others.get(one)]
    told, before_told = (
        ", ".join(f"{one}={given[one]}" for one in names if one in given) or "less"
        for given in (arguments, others)
    )
    return f"the {what} is {kind} with {told}, and was with {before_told}"


def _call(text: str) -> tuple[str, Mapping[str, str]] | None:
    """The name and the arguments of a `repr`; None where it is no call with names of arguments."""
    try:
        made = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(made, ast.Call) or made.args:
        return None
    return ast.unparse(made.func), {str(one.arg): ast.unparse(one.value) for one in made.keywords}


def _declaration(feature: Aggregate) -> str:
    """A feature as a pipeline's file declares it; what is left to a default is left out."""
    found = list[str]()
    for one in fields(cast(Any, feature)):  # every kind of feature is a dataclass
        value = getattr(feature, one.name)
        if one.init and value != one.default:
            text = str(value) if isinstance(value, Expression) else repr(value)
            found.append(text if one.name == "of" else f"{one.name}={text}")
    return f"{type(feature).__name__}({', '.join(found)})"
