"""What a start does with the features and inputs of a state: which it keeps, adds and drops."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.definitions.kept_definitions import KeptDefinitions
from freshrank.deploy.state.record_files.definitions_record import as_declared, written
from freshrank.feature_actors.partition.carry_over.table_change import KeptTable, TableChange
from freshrank.feature_actors.views.row_plan import RowPlan
from freshrank.learner.changed_inputs import ChangedInputs

# How the meaning of an input says that requests carry it, with its type.
_OF_REQUESTS = re.compile(r"\bcarried (int|float|str)\b")


class Fate(StrEnum):
    """What becomes of a feature or an input at a start."""

    KEEP = "keep"
    """It goes on with its state."""
    ADD = "add"
    """It begins empty."""
    FILL = "fill"
    """It is made of the oldest records that a topic still holds."""
    RENEW = "renew"
    """It was there, and begins empty: it is defined otherwise now."""
    DROP = "drop"
    """Its state is left out."""


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """What becomes of one feature or input."""

    name: str
    fate: Fate
    why: str = ""
    """For people; "" where it goes on as it was."""


@dataclass(frozen=True, slots=True)
class PartChanges:
    """Of one table of rows, or of the inputs of the model."""

    part: str
    changes: Sequence[ColumnChange]

    def of(self, fate: Fate) -> list[ColumnChange]:
        """Those of a fate."""
        return [one for one in self.changes if one.fate is fate]

    def lines(self) -> Iterator[str]:
        """For people: what is kept in one line, and each of the others in one of its own.

        >>> gone = ColumnChange("b", Fate.DROP, "it is declared no more")
        >>> print(*PartChanges("inputs", [ColumnChange("a", Fate.KEEP), gone]).lines(), sep="; ")
        inputs:;   keep  a;   drop  b: it is declared no more
        """
        yield f"{self.part}:"
        kept = [f"{one.name} ({one.why})" if one.why else one.name for one in self.of(Fate.KEEP)]
        if kept:
            yield f"  {Fate.KEEP:<5} {', '.join(kept)}"
        yield from self.changed_lines()

    def changed_lines(self) -> Iterator[str]:
        """For people: a line for each of those that are not kept."""
        for fate in (Fate.ADD, Fate.FILL, Fate.RENEW, Fate.DROP):
            yield from (f"  {fate:<5} {one.name}: {one.why}" for one in self.of(fate))


def start_changes(before: KeptDefinitions, pipeline: Pipeline) -> list[PartChanges]:
    """What a start of `pipeline` does with each part of a state: of now, then those that go."""
    plans = [rows for plan in pipeline.plans.values() for rows in plan.row_plans]
    named = {plan.name: plan for plan in plans}
    texts = _Texts(before, pipeline)
    parts = [
        PartChanges(_title(name), list(_of_table(before.tables.get(name), name, plan, texts)))
        for name, plan in [*named.items(), *((one, None) for one in before.tables)]
        if plan is not None or name not in named
    ]
    nothing, now = KeptLayout((), ()), KeptLayout.of(pipeline.encoder.layout)
    inputs = _of_inputs(before.inputs or nothing, now, texts)
    return [*parts, PartChanges("inputs of the model", list(inputs))]


def counted(parts: Iterable[PartChanges]) -> str:
    """For people: how many of all parts a start keeps, adds, fills, renews and drops.

    >>> changes = [ColumnChange("a", Fate.KEEP), ColumnChange("b", Fate.DROP)]
    >>> counted([PartChanges("inputs", changes)])
    'it keeps 1 of the features and inputs, adds 0, fills 0, renews 0 and drops 1'
    """
    fates = [change.fate for part in parts for change in part.changes]
    keep, add, fill, renew, drop = (fates.count(fate) for fate in Fate)
    return (
        f"it keeps {keep} of the features and inputs, adds {add}, fills {fill}, renews {renew} "
        f"and drops {drop}"
    )


def told_at_start(before: KeptDefinitions, pipeline: Pipeline) -> Iterator[str]:
    """The lines that a start says where it carries over to other definitions."""
    parts = [] if before.empty else start_changes(before, pipeline)
    changed = [part for part in parts if any(part.changed_lines())]
    if changed:
        yield f"the definitions have changed since this state was made: {counted(parts)}"
    for part in changed:
        yield f"{part.part}:"
        yield from part.changed_lines()


class _Texts:
    """How features were declared, and are now."""

    def __init__(self, before: KeptDefinitions, pipeline: Pipeline) -> None:
        self._was, self._now = before.written, written(pipeline)

    def of(
        self, before: Mapping[str, str], now: Mapping[str, str]
    ) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Definitions of before and of now, by name, as files declare them.

        Where the two of a name are declared alike, and yet differ, it is by the type of a field:
        the types are told then.
        """
        was = {name: as_declared(self._was, text) for name, text in before.items()}
        there = {name: as_declared(self._now, text) for name, text in now.items()}
        for name in was.keys() & there.keys():
            if before[name] != now[name] and was[name] == there[name]:
                was[name] = as_declared(self._was, before[name], types=True)
                there[name] = as_declared(self._now, now[name], types=True)
        return _without_names(was), _without_names(there)


def _without_names(texts: Mapping[str, str]) -> Mapping[str, str]:
    """Texts by name; a field of a table is declared by its name and type, and told by the type."""
    return {name: text.removeprefix(f"{name} ") for name, text in texts.items()}


def _title(table: str) -> str:
    entity, _, topic = table.partition("/")
    return f"features of {entity!r} from {topic!r}"


def _of_table(
    before: KeptTable | None, name: str, now: RowPlan | None, texts: _Texts
) -> Iterator[ColumnChange]:
    if before is not None and now is not None and before.basis != now.basis:
        before = None  # it is made anew, where a start is not refused for it
    change = TableChange(name, before, now)
    was, there = texts.of(
        {} if before is None else {one: text for one, text, _ in before.columns},
        {} if now is None else {one.name: one.definition for one in now.columns_of_rows},
    )
    renamed = change.renamed
    for one in change.kept:
        why = f"it was called {renamed[one]}" if one in renamed else ""
        yield ColumnChange(one, Fate.KEEP, why)
    dropped = change.dropped
    for one in change.added:
        otherwise = f"; it was {was[one]}" if one in dropped else ""
        if before is None:
            yield ColumnChange(
                one, Fate.FILL, f"{there[one]}, of the oldest records of a new topic"
            )
        elif change.reads_again:
            why = f"{there[one]}, of the topic, which is read again{otherwise}"
            yield ColumnChange(one, Fate.FILL, why)
        else:
            fate = Fate.RENEW if otherwise else Fate.ADD
            yield ColumnChange(one, fate, f"{there[one]}, begins empty{otherwise}")
    for one in dropped:
        if one not in change.added:
            yield ColumnChange(one, Fate.DROP, f"{was[one]}, is declared no more")


def _of_inputs(before: KeptLayout, now: KeptLayout, texts: _Texts) -> Iterator[ColumnChange]:
    change = ChangedInputs.of(before, now)
    meant, means = texts.of(_meanings(before), _meanings(now))
    yield from (ColumnChange(name, Fate.KEEP) for name in change.kept)
    yield from (ColumnChange(name, Fate.ADD, "learned from now on") for name in change.new)
    for name in change.other:
        why = f"learned from now on, as {means[name]}; it was {meant[name]}"
        yield ColumnChange(name, Fate.RENEW, why)
    yield from (ColumnChange(name, Fate.DROP, "it is no input any more") for name in change.gone)


def _meanings(layout: KeptLayout) -> dict[str, str]:
    """By name of an input: what it is made of."""
    found = dict(layout.dense) | {
        name: meaning if width == 1 else f"{width} ids of {meaning}"
        for name, width, meaning in layout.fields
    }
    return {name: _OF_REQUESTS.sub(r"a field of requests (\1)", one) for name, one in found.items()}
