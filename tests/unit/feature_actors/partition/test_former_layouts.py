"""Impressions that were served with other inputs are learned from for what they carry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from small_shop import batch, event, events, impression, spec

from freshrank import Count, FeatureView, Imputed, LastK, TimeSince, col
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.views.plan import FeaturePlan

BEFORE = spec()


class Changed(FeatureView):
    """Of the features of before `views_1m` is as it was; `recent` has another meaning."""

    entity, source = events.key, events
    pause = TimeSince()
    views = Count(where=col.type == "view", windows=["1m"])
    recent = LastK("item", k=3)


def changed(derived: DerivedInputs, names: list[str]) -> PartitionState:
    plan = FeaturePlan([Changed])
    encoder = InputEncoder([plan], events, names, [], derived)
    state = PartitionState(replace(BEFORE, plan=plan, encoder=encoder), 0)
    state.former_layouts[BEFORE.encoder.fingerprint] = KeptLayout.of(BEFORE.encoder.layout)
    return state


def test_what_both_layouts_have_is_learned_from_and_what_lacks_is_missing() -> None:
    derived = DerivedInputs(missing=["pause"], cleaning=[Imputed("pause", "mean")])
    state = changed(derived, ["item"])
    shown = impression(BEFORE, "u1", [7, 8], 10_000, number=5, scored=True)
    outcome = state.process(batch("shown", [shown], stamps_ms=[10_000]))
    assert not outcome.dead
    counters = state.counters
    assert (counters.impressions, counters.impressions_carried) == (1, 1)
    examples = state.example_queue.peek()
    assert examples is not None
    layout = state.spec.encoder.layout
    was = BEFORE.encoder.layout
    dense = dict(zip(layout.dense, examples.inputs.dense.T.tolist(), strict=True))
    place = was.dense.index("views_1m")
    given = {0: [5.0, 5.0], 1: [0.0, 1.0]}.get(place, [0.0, 0.0])
    assert dense["views_1m"] == given
    assert np.isnan(dense["pause"]).all() and dense["pause_missing"] == [1.0, 1.0]
    assert dense["recent_match"] == [0.0, 0.0]
    ids = examples.inputs.ids
    fields = [name for one in layout.fields for name in [one.name] * one.width]
    absent = [name for name, column in zip(fields, ids.T, strict=True) if not column.any()]
    assert absent == ["recent", "recent", "recent"]
    state.process(batch("events", [event(1, "u1", "order", 7, 11_000)], stamps_ms=[11_000]))
    assert counters.positives == 1, "it is joined with events as others are"


def test_a_layout_that_is_not_known_is_refused() -> None:
    state = changed(DerivedInputs(), ["item"])
    state.former_layouts.clear()
    shown = impression(BEFORE, "u1", [7], 10_000)
    outcome = state.process(batch("shown", [shown], stamps_ms=[10_000]))
    assert f"layout {BEFORE.encoder.fingerprint}" in outcome.dead[0].reason
    assert (state.counters.dead_other_layout, state.counters.impressions) == (1, 0)


def test_rows_of_a_known_layout_with_other_lengths_are_refused() -> None:
    state = changed(DerivedInputs(), ["item"])
    (fingerprint,) = state.former_layouts
    kept = state.former_layouts[fingerprint]
    state.former_layouts[fingerprint] = KeptLayout(kept.dense[1:], kept.fields)
    shown = impression(BEFORE, "u1", [7], 10_000)
    outcome = state.process(batch("shown", [shown], stamps_ms=[10_000]))
    assert "different lengths" in outcome.dead[0].reason
    assert state.counters.dead_other_layout == 0
