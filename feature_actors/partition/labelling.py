"""From decoded records to labelled rows, by the rule of a pipeline's label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.hashing import ABSENT, hash_texts
from freshrank.actors.messages import Bools, Floats, Ints
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.labels.event_labels import labels_of, weights_of
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.labels.pair_pool import pairs_of
from freshrank.feature_actors.labels.waiting_examples import WaitingExamples
from freshrank.feature_actors.partition.outcome import Counters
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.entity_table import Applied, EntityTable, RowsBeside
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.fields import Kind

_NONE_BESIDE = RowsBeside((), 0)


class StreamLabel(NamedTuple):
    """How the events of a stream give examples."""

    label: Callable[[Columns, Applied], LabelledRows]
    """From events and what became of them to the examples that they give."""
    forget: Callable[[int, int, int], LabelledRows] | None = None
    """From the hash of a forgotten entity, and the time and the clock (`LogTimes`) of its
    tombstone, to the examples that are known then; None where no items wait for a label."""
    reads_before: bool = False
    """Whether `label` needs each row as it was just before its event."""
    beside: RowsBeside = _NONE_BESIDE
    """The rows that only the label needs."""


class LabelTables(NamedTuple):
    """The rows that a label reads beside those of the first stream."""

    others: Sequence[EntityTable]
    """Of the further streams, whose events fill them: they hold what has been read of those."""
    beside: RowsBeside
    """Of other entities, which the events of the first stream fill just after they are read."""


def waits_of(
    label: Joined | Labelled | None, dense_width: int, id_width: int
) -> Joiner | WaitingExamples | None:
    """Keeps what waits for its label, whose inputs have these widths; None: nothing waits."""
    if isinstance(label, Joined):
        widths = dense_width, id_width
        return Joiner(label.within_ms, label.grace_ms, widths, listwise=label.listwise)
    if label is not None and label.known_after_ms:
        return WaitingExamples(label.known_after_ms, dense_width, id_width)
    return None


def labelling(
    spec: PartitionSpec,
    waits: Joiner | WaitingExamples | None,
    tables: LabelTables,
    counters: Counters,
) -> StreamLabel | None:
    """How the events of the first stream give examples.

    What waits for its label is in `waits`. Events that give no example because of what they carry
    are counted in `counters`.
    """
    label, key = spec.label, spec.stream.key.key
    if isinstance(label, Labelled):
        labeller = EventLabeller(label, spec.encoder, tables, key, counters)
        if isinstance(waits, WaitingExamples):
            return label_later(labeller, waits)
        return StreamLabel(labeller.label, reads_before=True, beside=tables.beside)
    if isinstance(label, Joined) and isinstance(waits, Joiner):
        return label_by_join(label, waits, key)
    return None


@dataclass(frozen=True, slots=True)
class EventLabeller:
    """Events that are examples themselves, with the features from just before each."""

    rule: Labelled
    encoder: InputEncoder
    tables: LabelTables
    entity_key: str
    """The events' field with the entity's key."""
    counters: Counters
    """Count the events that give no example because of what they carry."""

    def label(self, columns: Columns, applied: Applied) -> LabelledRows:
        """The examples of events."""
        if applied.before is None:
            raise ValueError("events without their features")
        labels, weights = labels_of(self.rule, columns), weights_of(self.rule, columns)
        which = self._usable(columns, labels, weights, ~applied.late)
        blocks, lines = [applied.before], [which]
        for table in self.tables.others:
            entities = columns.hashed(self.entity_key)[which]
            blocks.append(table.plan.read(table.rows_of(entities), columns.event_times_ms[which]))
            lines.append(np.arange(len(which)))
        for before, line_of in self.tables.beside.take(columns):
            blocks.append(before)
            lines.append(line_of[which])
        context = {name: column[which] for name, column in self.encoder.context_of(columns).items()}
        inputs = self.encoder.encode(blocks, lines, context)
        order, label_ms = columns.offsets[which], columns.event_times_ms[which]
        return LabelledRows.not_served(order, inputs, labels[which], label_ms, weights[which])

    def _usable(self, columns: Columns, labels: Floats, weights: Floats, wanted: Bools) -> Ints:
        """int64[m]: those of the `wanted` events that give an example."""
        rule = self.rule
        if rule.among is not None:
            wanted &= rule.among.evaluate(columns)
        known = np.isfinite(labels)
        if rule.target is not None:
            others = wanted & ~known
            of_no_class = others & columns.present(rule.target) if rule.classes else others & False
            self.counters.examples_of_no_class += int(np.count_nonzero(of_no_class))
            self.counters.examples_of_no_target += int(np.count_nonzero(others & ~of_no_class))
        wanted &= known
        bad = wanted & np.isnan(weights)
        self.counters.examples_of_bad_weight += int(np.count_nonzero(bad))
        return np.flatnonzero(wanted & ~bad)


def label_later(labeller: EventLabeller, waiting: WaitingExamples) -> StreamLabel:
    """How events give examples some time after them."""

    def label(columns: Columns, applied: Applied) -> LabelledRows:
        rows = labeller.label(columns, applied)
        events = columns.offsets.searchsorted(rows.order)
        entities = _entities_at(events, columns, labeller.entity_key)
        return waiting.take(rows, entities, int(columns.clock_ms[-1]))

    def forget(entity: int, log_ms: int, clock_ms: int) -> LabelledRows:
        return waiting.forget(entity, clock_ms)

    return StreamLabel(label, forget, reads_before=True, beside=labeller.tables.beside)


def label_by_join(label: Joined, joiner: Joiner, key: str) -> StreamLabel:
    """How the events of a stream, whose entities are in the field `key`, label shown items."""
    return StreamLabel(lambda columns, _: join_events(label, joiner, key, columns), joiner.forget)


def join_events(label: Joined, joiner: Joiner, entity_key: str, columns: Columns) -> LabelledRows:
    """The shown items whose label is known with a batch of events."""
    places = np.flatnonzero(label.positive.evaluate(columns))
    if not len(places):
        return joiner.happen(columns.clock_ms, places, places)
    keys = columns.hashed(label.on)[places]
    places, keys = places[keys != ABSENT], keys[keys != ABSENT]
    entities = _entities_at(places, columns, entity_key)
    label_ms = joiner.forgotten.later(entities, columns.log_ms[places])
    return joiner.happen(columns.clock_ms, label_ms, pairs_of(entities, keys))


def _entities_at(places: Ints, columns: Columns, key: str) -> Ints:
    """int64[n]: the hashes of the entities, which are in the field `key`, of n of the events.

    They are those of the entities' names, as tombstones and impressions have them.
    """
    field = columns.fields.require(key, f"columns.{key}")
    if field.kind is Kind.TEXT and not field.optional:
        return columns.hashed(key)[places]
    names = columns.text(key)
    return hash_texts([names[at] for at in places.tolist()])
