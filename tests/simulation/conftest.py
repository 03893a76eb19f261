"""Simulations are not measured: tracing doubles their time, and unit tests run the same lines."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.fixture(autouse=True)
def not_measured() -> Iterator[None]:
    """No coverage meanwhile, where it is measured at all."""
    measuring = coverage.Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    yield
    measuring.start()
