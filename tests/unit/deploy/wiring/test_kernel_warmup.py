"""What an installation prints while it compiles kernels."""

from __future__ import annotations

import asyncio

import pytest

from freshrank.deploy.wiring import kernel_warmup as warm


def test_the_guard_raises_no_alarm_while_kernels_are_compiled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for pipeline in warm.pipelines():
        assert asyncio.run(warm.exercise(pipeline)) > 50
    assert caplog.messages == []
