"""What an installation prints while it compiles kernels, and for what arguments it does."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from freshrank.deploy.wiring import kernel_warmup as warm
from freshrank.learner.embeddings.hash_index import find_all


def test_the_guard_raises_no_alarm_while_kernels_are_compiled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for pipeline in warm.pipelines():
        assert asyncio.run(warm.exercise(pipeline)) > 50
    assert caplog.messages == []


def test_kernels_are_compiled_for_arrays_of_this_process_and_of_others() -> None:
    asyncio.run(warm.exercise(warm.of_catalogue()))
    signatures = cast(Any, find_all).signatures
    assert {keys.mutable for _, _, keys in signatures} == {True, False}


def test_numbers_are_cleaned_in_some_pipelines_and_only_standardised_in_others() -> None:
    made = list(warm.pipelines())
    assert {bool(one.encoder.layout.cleaning) for one in made} == {True, False}
    assert [one.name for one in made if one.retrieval is not None] == ["warm"]
