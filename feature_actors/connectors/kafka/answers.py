"""Records that are written to Kafka, and their answers: a place, or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import aiokafka
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from freshrank.actors.errors import BadRecord, Unavailable

T = TypeVar("T")

Place: TypeAlias = tuple[int, int]
"""Partition and offset."""

Answer: TypeAlias = Place | BadRecord | Unavailable
"""The place of a record; BadRecord where its topic never takes one of its size; Unavailable where
it is not known to be written."""

Written: TypeAlias = "asyncio.Future[aiokafka.RecordMetadata]"
"""The client's answer, of the first record of a batch, once there is one."""

NOT_CONNECTED = "not started, or stopped"


@dataclass(frozen=True, slots=True)
class Record:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default_factory=list)


def not_connected() -> Unavailable:
    """The answer of a writer that is not connected."""
    return Unavailable("kafka", NOT_CONNECTED)


def unavailable(error: KafkaError | OSError) -> Unavailable:
    """The answer where the broker, or the way to it, fails."""
    return Unavailable("kafka", str(error) or type(error).__name__)


def place_after(answer: T, number: int) -> T | Place:
    """The answer to a record of a batch, `number` places after the first, whose answer it is."""
    return (answer[0], answer[1] + number) if isinstance(answer, tuple) else answer


def too_large(topic: str, value: bytes | None) -> BadRecord:
    """The answer to a record that its topic never takes."""
    return BadRecord(f"{len(value or b'')} bytes are more than topic {topic!r} takes")


def answer_of(written: Written, late: Unavailable) -> Answer | None:
    """The answer of the broker, `late` where there is none yet; None where it refuses the batch."""
    if not written.done():
        written.add_done_callback(asyncio.Future.exception)  # looked at, or asyncio complains
        return late
    error = written.exception()
    if error is None:
        return written.result().partition, written.result().offset
    if not isinstance(error, KafkaError):
        raise error
    return Unavailable("kafka", str(error)) if error.retriable else None


def failure_of(
    topic: str, value: bytes | None, error: KafkaError | OSError
) -> Unavailable | BadRecord:
    """The answer to a record that the client itself refuses, or cannot give to the broker."""
    if isinstance(error, MessageSizeTooLargeError):
        return too_large(topic, value)
    return unavailable(error)
