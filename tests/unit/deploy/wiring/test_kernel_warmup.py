"""What an installation prints while it compiles kernels."""

from __future__ import annotations

import asyncio

import pytest

from freshrank.deploy.wiring import kernel_warmup as warm


def test_whoever_installs_is_not_alarmed_by_the_guard(caplog: pytest.LogCaptureFixture) -> None:
    for pipeline in warm.pipelines():
        assert asyncio.run(warm.exercise(pipeline)) > 50
    assert caplog.messages == []
