"""The rows of an owner are found, whatever happened to the slots before."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freshrank.feature_actors.state.owner_index import OwnerIndex
from freshrank.feature_actors.streams.keys.compound_key import compound_ids

WHO = st.sampled_from(["a", "a:", "~", "b"])
NOTES = st.lists(st.lists(st.tuples(st.integers(0, 30), WHO, WHO), max_size=6), max_size=6)


@given(NOTES, st.sampled_from([0, 1]))
def test_names_of_an_owner_are_those_that_its_slots_have_now(
    notes: list[list[tuple[int, str, str]]], part: int
) -> None:
    index, owners = OwnerIndex(part, 2), dict[int, tuple[str, str]]()
    names = [""] * 31
    for note in notes:
        chosen = {slot: (one, other) for slot, one, other in note}
        for slot, pair in chosen.items():
            (names[slot],) = compound_ids([[pair[0]], [pair[1]]])
        owners |= chosen
        index.note(np.array(list(chosen), dtype=np.int64), [names[slot] for slot in chosen])
    for who in ("a", "a:", "~", "b"):
        wanted = {names[slot] for slot, pair in owners.items() if pair[part] == who}
        found = index.names_of(who, names)
        assert set(found) == wanted and len(found) == len(wanted)
    assert index.names_of("nobody", names) == []
