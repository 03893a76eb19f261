"""Some simulations are not measured: tracing doubles their time, and others run the same lines."""

from __future__ import annotations

from collections.abc import Iterator

import coverage
import pytest


@pytest.fixture(autouse=True)
def not_measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """No coverage of a test that crashes at every place, where it is measured at all."""
    measuring = coverage.Coverage.current()
    if measuring is None or request.node.get_closest_marker("crashes_everywhere") is None:
        yield
        return
    measuring.stop()
    yield
    measuring.start()
