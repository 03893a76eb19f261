"""What every call to Kafka has in common: it is over in time, and fails with an error of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiokafka.errors import KafkaError

from freshrank.actors.errors import Unavailable

# Seconds after which a broker that does not answer counts as away.
DEADLINE_S = 10.0


@contextlib.asynccontextmanager
async def answered(deadline_s: float) -> AsyncIterator[None]:
    """Do what is within; raises Unavailable when it fails, or takes longer."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except (KafkaError, OSError) as error:  # TimeoutError is an OSError
        raise Unavailable("kafka", str(error) or type(error).__name__) from error
