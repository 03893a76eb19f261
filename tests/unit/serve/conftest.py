"""A replica for each test."""

from __future__ import annotations

import pytest
from serving import ReplicaUnderTest


@pytest.fixture
def replica() -> ReplicaUnderTest:
    return ReplicaUnderTest()
