"""Ages and places in the list as inputs: what was served is what is learned from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from context_shop import (
    START_MS,
    Click,
    Product,
    catalogue,
    clicks,
    explained,
    pipeline,
    shown,
    started,
)
from fake_clock import FakeClock

from freshrank import Labelled, Pipeline, age, col, position
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, Floats
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.state.record_files.fields_record import types_of_fields
from freshrank.feature_actors.encoding.context_entries import DeclaredEntry
from freshrank.feature_actors.streams.columns import Columns

DAY_S = 86_400.0

PIPELINE = pipeline(
    "item",
    age(catalogue.published, "s"),
    age("listed"),
    position(served=2),
    tables=[catalogue],
    missing=["published_age"],
    relative=["published_age", "listed_age"],
)
DENSE = (
    "seen_1h", "published_age", "listed_age", "position",
    "published_age_missing", "published_age_relative", "listed_age_relative",
)  # fmt: skip
NAN = float("nan")
# By item: seconds since it was published at the start, and since it was listed.
AGES = {1: (DAY_S, 10.0), 2: (3 * DAY_S, NAN), 3: (NAN, 0.5), 4: (-60.0, 30.0)}
CANDIDATES: list[JsonValue] = [
    {"item": number, "listed": None if np.isnan(listed) else START_MS - listed * 1_000}
    for number, (_, listed) in AGES.items()
]
PRODUCTS = [
    Product(number, None if np.isnan(published) else int(START_MS / 1_000 - published))
    for number, (published, _) in AGES.items()
]


def raw(dense: Floats) -> Doubles:
    """The numbers of inputs."""
    numbers: Doubles = np.sign(dense) * np.expm1(np.abs(dense.astype(np.float64)))
    return numbers


def test_ages_are_as_of_the_request_and_places_those_of_the_list() -> None:
    layout = PIPELINE.encoder.layout
    assert layout.dense == DENSE

    async def test() -> None:
        system = await started(PIPELINE, PRODUCTS)
        impression, (keys, inputs, _) = await shown(system, CANDIDATES, 3)
        numbers = raw(inputs.dense)
        assert numbers[:, 3].tolist() == pytest.approx([0.0, 1.0, 2.0])
        later = (impression.at_ms - START_MS) / 1_000
        medians = [DAY_S + later, 10.0 + later]
        for key, row in zip(keys.tolist(), numbers.tolist(), strict=True):
            published, listed = (one + later for one in AGES[key])
            known = [0.0 if np.isnan(one) else one for one in (published, listed)]
            apart = [0.0 if np.isnan(one) else one - median
                     for one, median in zip((published, listed), medians, strict=True)]  # fmt: skip
            missing = np.expm1(float(np.isnan(published)))  # it is no logarithm
            expected = [*known, row[3], missing, *apart]
            assert row[1:] == pytest.approx(expected, rel=1e-5, abs=1e-4)
        await system.stop()

    asyncio.run(test())


def test_all_are_scored_as_if_they_were_shown_at_one_place() -> None:
    async def test() -> None:
        system = await started(PIPELINE, PRODUCTS)
        values = await explained(system, CANDIDATES)
        later = cast("float", values[0]["listed_age"]) - 10.0
        assert 0 <= later <= (system.world.clock.now_ms() - START_MS) / 1_000
        names = ("published_age", "listed_age", "position")
        assert [[one[name] for name in names] for one in values] == [
            [*(None if np.isnan(one) else one + later for one in ages), 2.0]
            for ages in AGES.values()
        ]
        await system.stop()

    asyncio.run(test())


def test_what_is_shown_first_is_learned_at_its_place_and_served_at_the_declared_one() -> None:
    """Two equal items, of which the first of each list is clicked: the place explains it all."""

    async def test() -> None:
        one = replace(PIPELINE, context=["item", position()], tables=[], missing=[], relative=[])
        clock = FakeClock(START_MS)
        system = await started(one, PRODUCTS, clock)
        for number in range(40):
            items = [number % 2, 1 - number % 2]
            candidates: list[JsonValue] = [{"item": one} for one in items]
            answer = await system.score({"user": "ann", "candidates": candidates})
            await asyncio.sleep(0)
            first = items[answer.ranking[0]]
            at_ms = clock.now_ms()
            order = msgspec.json.encode(Click(f"o{number}", "ann", first, "order", at_ms))
            system.world.log.append("clicks", 0, order, at_ms, b"ann")
            clock.advance(1.0)
            await system.drain()
        clock.advance(120.0)
        await system.drain()
        weights = system.replica.model.importance()
        assert weights["position"] > 0
        await system.stop()

    asyncio.run(test())


def test_an_event_that_has_its_label_has_the_age_at_its_time() -> None:
    own = replace(
        PIPELINE,
        tables=[],
        context=["item", age("listed")],
        missing=[],
        relative=[],
        label=Labelled(positive=col.kind == "order"),
    )
    assert own.encoder.layout.dense == ("seen_1h", "listed_age")
    assert types_of_fields(own)["clicks"]["listed"] == "float"
    events: list[msgspec.Struct] = [
        Click("a", "ann", 1, "view", START_MS, listed=START_MS - 2_500.0)
    ]
    times = np.array([START_MS], dtype=np.int64)
    columns = Columns.of_events(clicks.fields, events, np.zeros(1, dtype=np.int64), times)
    assert own.encoder.context_of(columns)["listed_age"].tolist() == [2.5]


def test_the_layout_of_an_impression_tells_units_and_places_apart() -> None:
    def fingerprint(*entries: DeclaredEntry) -> str:
        return replace(
            PIPELINE,
            context=["item", catalogue.name, *entries],
            missing=[],
            relative=[],
        ).encoder.fingerprint

    published = catalogue.published
    made: list[DeclaredEntry] = [
        age(published),
        age(published, "s"),
        position(),
        position(1),
    ]
    assert len({fingerprint(one) for one in made}) == len(made)


def of_context(*context: DeclaredEntry, **more: Any) -> Pipeline:
    own = {"tables": [catalogue], **more}
    entries = [*context, catalogue.name] if own["tables"] else [*context]
    return replace(PIPELINE, context=entries, missing=[], relative=[], **own)


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: age(cast("str", 7)), "that is no field"),
        (lambda: age("listed", "days"), "that is no unit"),
        (lambda: position(-1), "no place in a list"),
        (lambda: of_context("item", age("kind")), "'kind' is str"),
        (lambda: of_context("item", age("lsted")), "Did you mean 'listed'"),
        (lambda: of_context("item", age(catalogue.name)), "'name' is str"),
        (lambda: of_context(age("item")), "'item' is not in the context"),
        (lambda: of_context("item", position(), position(1)), "given twice"),
        (
            lambda: of_context("item", age(catalogue.published), tables=[]),
            "'catalogue' is no table of the pipeline",
        ),
        (
            lambda: of_context(
                "item", position(), tables=[], label=Labelled(positive=col.kind == "order")
            ),
            "it has no position",
        ),
        (
            lambda: replace(PIPELINE, relative=["position"]),
            "all candidates are scored at one position",
        ),
    ],
)
def test_what_has_no_time_or_no_place_is_refused(
    declare: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        declare()
