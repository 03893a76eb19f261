"""The parts of user agents as inputs: what was served is what is learned from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from context_shop import START_MS, Click, clicks, explained, pipeline, shown, started

from freshrank import Labelled, Pipeline, col, user_agent
from freshrank.actors.errors import ConfigError, RequestError
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.state.record_files.fields_record import types_of_fields
from freshrank.feature_actors.encoding.entries.user_agents import families_of
from freshrank.feature_actors.streams.columns import Columns

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
FAMILIES = {
    PHONE: ["Mobile Safari", "iOS", "iPhone"],
    LAPTOP: ["Firefox", "Linux", "Other"],
    "": ["Other", "Other", "Other"],
    None: [None, None, None],
}
NAMES = ("agent_browser", "agent_os", "agent_device")

PIPELINE = pipeline("item", *user_agent("agent"), crosses=[("item", "agent_os")])
CANDIDATES: list[JsonValue] = [
    {"item": number, "agent": agent} for number, agent in enumerate(FAMILIES, 1)
]


def test_the_parts_of_a_user_agent_are_ids_of_what_was_served() -> None:
    layout = PIPELINE.encoder.layout
    names = [field.name for field in layout.fields]
    assert names == ["user", "item", *NAMES, "item_x_agent_os"]
    assert PIPELINE.online_features.context == {"item": int, "agent": str}

    async def test() -> None:
        system = await started(PIPELINE)
        _, (keys, inputs, _) = await shown(system, CANDIDATES)
        events: list[msgspec.Struct] = [
            Click(f"e{number}", "ann", number, "view", START_MS, agent=agent)
            for number, agent in enumerate(FAMILIES, 1)
        ]
        columns = Columns.of_events(
            clicks.fields, events, np.arange(4), np.full(4, START_MS, dtype=np.int64)
        )
        encoder = PIPELINE.encoder
        block = PIPELINE.plan.tables[0].read(
            PIPELINE.plan.tables[0].empty_row.reshape(1, -1), np.array([START_MS])
        )
        learned = encoder.encode([block], [np.zeros(4, int)], encoder.context_of(columns))
        np.testing.assert_array_equal(inputs.ids, learned.ids[keys - 1])
        parts = inputs.ids[np.argsort(keys), 2:5]
        assert (parts[3] == 0).all() and (parts[:3] != 0).all()
        assert parts[1, 2] == parts[2, 2], "both are another device"
        assert len({*parts[:3, 0].tolist()}) == 3
        await system.stop()

    asyncio.run(test())


def test_an_explanation_shows_them_as_texts() -> None:
    async def test() -> None:
        system = await started(PIPELINE)
        values = await explained(system, CANDIDATES)
        assert [[one[name] for name in NAMES] for one in values] == list(FAMILIES.values())
        await system.stop()

    asyncio.run(test())


def test_what_is_no_text_is_refused() -> None:
    async def test() -> None:
        system = await started(PIPELINE)
        with pytest.raises(RequestError, match="agent"):
            await system.score({"user": "ann", "candidates": [{"item": 1, "agent": 7}]})
        await system.stop()

    asyncio.run(test())


def test_the_families_that_are_kept_are_bounded_and_so_is_what_is_read_of_a_text() -> None:
    families_of.cache_clear()
    (browser, *_) = user_agent("agent")
    assert browser.text("x" * 100_000) == browser.text("x" * 200_000) == "Other"
    assert families_of.cache_info().currsize == 1
    assert families_of.cache_info().maxsize is not None


def test_events_carry_them_too() -> None:
    own = replace(PIPELINE, label=Labelled(positive=col.kind == "order"))
    assert own.encoder.layout.fields == PIPELINE.encoder.layout.fields
    assert types_of_fields(own)["clicks"]["agent"] == "str"


def of_context(*context: Any) -> Pipeline:
    return replace(PIPELINE, context=[*context], crosses=[])


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: user_agent(cast("str", 7)), "that is no name of a field"),
        (lambda: of_context("item", *user_agent("ts")), "'ts' is int"),
        (lambda: of_context("item", *user_agent("agnt")), "Did you mean 'agent'"),
        (lambda: of_context(*user_agent("item")), "'item' is not in the context"),
        (lambda: of_context("item", *user_agent("agent"), *user_agent("agent")), "given twice"),
    ],
)
def test_what_is_no_user_agent_is_refused(declare: Callable[[], object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        declare()


def test_where_the_parser_is_missing_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="ua-parser is not installed") as caught:
        user_agent("agent")
    assert "freshrank[agents]" in caught.value.fix
