"""How Kafka is reached: every call is over in time, and fails with an error of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from freshrank.actors.errors import Unavailable
from freshrank.feature_actors.connectors.kafka.security import (
    OPEN,
    KafkaSecurity,
    SecurityArguments,
)

# Seconds after which a broker that does not answer counts as away.
DEADLINE_S = 10.0


class ClientArguments(SecurityArguments):
    """What every client of aiokafka is told, by its names."""

    bootstrap_servers: str
    request_timeout_ms: int


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """One cluster of brokers, for all who read and write there."""

    bootstrap: str
    """``host:port[,host:port]``."""
    security: KafkaSecurity = OPEN
    deadline_s: float = DEADLINE_S

    def arguments(self) -> ClientArguments:
        """For a client's constructor; raises ConfigError when the certificates cannot be read."""
        return {
            "bootstrap_servers": self.bootstrap,
            "request_timeout_ms": int(self.deadline_s * 1000),
            **self.security.arguments(),
        }

    @contextlib.asynccontextmanager
    async def answered(self, wait_s: float = 0.0) -> AsyncIterator[None]:
        """Do what is within; raises Unavailable when it fails, or takes longer than the deadline.

        `wait_s` is added to that: so long the call waits of its own accord.
        """
        try:
            async with asyncio.timeout(wait_s + self.deadline_s):
                yield
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            raise Unavailable("kafka", str(error) or type(error).__name__) from error
