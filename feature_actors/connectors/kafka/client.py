"""Access to Kafka: each call ends within the deadline, and fails with our own errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from freshrank.actors.errors import Unavailable
from freshrank.feature_actors.connectors.kafka import connect_errors, scram_proof
from freshrank.feature_actors.connectors.kafka.security import (
    OPEN,
    KafkaSecurity,
    SecurityArguments,
)

scram_proof.install()

# Seconds after which a broker that does not answer counts as away.
DEADLINE_S = 10.0


class ClientArguments(SecurityArguments):
    """Arguments of every client of aiokafka, by its names for them."""

    bootstrap_servers: str
    request_timeout_ms: int


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """A cluster of brokers, for all its readers and writers."""

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
        """Run the block; raises Unavailable when it fails, or takes longer than the deadline.

        `wait_s` is added to the deadline: seconds that the call waits by itself.
        """
        errors = connect_errors.collect()
        try:
            async with asyncio.timeout(wait_s + self.deadline_s):
                yield
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            raise Unavailable("kafka", self._reason([*errors, error])) from error

    def _reason(self, errors: Sequence[Exception]) -> str:
        """The error that ended a call, the last one, and why no connection came about."""
        for error in errors:
            if isinstance(error, scram_proof.ServerUnproven):
                return (
                    f"the server at {self.bootstrap} has not proved that it knows the password "
                    f"({error}): it may not be yours"
                )
        texts = [str(error) or type(error).__name__ for error in errors[-1:-3:-1]]
        return ": ".join(dict.fromkeys(texts))
