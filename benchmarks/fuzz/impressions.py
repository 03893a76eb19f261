"""Records of the impressions topic that no replica writes, each with its disposition."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from freshrank.actors.impressions import Impression, encode_impression
from freshrank.benchmarks.workloads.impressions import impression_of
from freshrank.benchmarks.workloads.record_accounting import Disposition, SentRecord
from freshrank.deploy.pipelines.pipeline import Pipeline

# The first byte of an impression in MessagePack says how many fields follow; this one, one more.
_ONE_MORE = bytes([0x90 + len(Impression.__struct_fields__) + 1])
_HOUR_MS = 3_600_000


class _ImpressionWriter:
    """Writes impressions of one item each."""

    def __init__(self, pipeline: Pipeline, now_ms: int) -> None:
        self._impression = impression_of(pipeline.encoder, "u1", [1], now_ms, "r")
        self._dense = np.frombuffer(self._impression.dense, dtype="<f4")

    def valid(self, **changes: Any) -> bytes:
        """Return an impression with some fields replaced by others of the same type."""
        return encode_impression(msgspec.structs.replace(self._impression, **changes))

    def untyped(self, **changes: Any) -> bytes:
        """Return an impression with some fields replaced by values of any type."""
        fields = msgspec.structs.asdict(self._impression) | changes
        return msgspec.msgpack.encode(list(fields.values()))

    def dense(self, value: float) -> bytes:
        """Return the bytes of dense inputs of which one is `value`."""
        return np.concatenate([self._dense[1:], np.array([value], dtype="<f4")]).tobytes()

    def items(self, count: int) -> bytes:
        """Return an impression of `count` items."""
        one = self._impression
        return self.valid(
            join_keys=one.join_keys * count,
            dense=one.dense * count,
            ids=one.ids * count,
            scores=one.scores * count,
        )


def impressions(pipeline: Pipeline, seed: int, now_ms: int, rounds: int = 1) -> list[SentRecord]:
    """Return every kind of impression `rounds` times, in random order."""
    rng = np.random.default_rng(seed)
    writer = _ImpressionWriter(pipeline, now_ms)
    kinds = [*_dead(writer, now_ms), *_taken(writer, now_ms), *_damaged(writer, rng)] * rounds
    return [kinds[at] for at in rng.permutation(len(kinds)).tolist()]


def _dead(writer: _ImpressionWriter, now_ms: int) -> list[SentRecord]:
    valid = writer.valid()
    values = {
        "a tombstone": None,
        "nothing": b"",
        "half a record": valid[: len(valid) // 2],
        "JSON": b'{"event_id": "e"}',
        "a map": msgspec.msgpack.encode({"entity": "u"}),
        "too few fields": msgspec.msgpack.encode(["r", "u"]),
        "broken UTF-8": valid.replace(b"\xa2u1", b"\xa2\xff\xfe"),
        "nested without end": _ONE_MORE + valid[1:] + b"\x91" * 200_000,
        "nested to an end": _ONE_MORE + valid[1:] + b"\x91" * 200_000 + b"\xc0",
        "an array of four billion": b"\xdd\xff\xff\xff\xff" + valid[1:],
        "a binary of four gigabytes": valid[:-9] + b"\xc6\xff\xff\xff\xff",
        "a text time": writer.untyped(at_ms="now"),
        "a null entity": writer.untyped(entity=None),
        "the first time of 64 bits": writer.untyped(at_ms=-(2**63)),
        "a time in 1970": writer.valid(at_ms=0),
        "a time an hour ago": writer.valid(at_ms=now_ms - _HOUR_MS),
        "another layout": writer.valid(layout="0" * 16),
        "a very long layout": writer.valid(layout="0" * 100_000),
        "odd join keys": writer.valid(join_keys=b"123"),
        "no inputs": writer.valid(dense=b""),
        "ids of two items": writer.valid(ids=b"\0" * 16 * 1_000),
        "NaN": writer.valid(dense=writer.dense(np.nan)),
        "Infinity": writer.valid(dense=writer.dense(np.inf)),
        "more items than have a rank": writer.items(1 << 16),
    }
    return [SentRecord(name, b"u1", value, Disposition.DEAD) for name, value in values.items()]


def _taken(writer: _ImpressionWriter, now_ms: int) -> list[SentRecord]:
    # Those ahead of the log were shown when they reached it.
    values = {
        "a time beyond 64 bits": writer.untyped(at_ms=2**64 - 1),
        "the last time of 64 bits": writer.untyped(at_ms=2**63 - 1),
        "a time an hour ahead": writer.valid(at_ms=now_ms + _HOUR_MS),
        "a valid impression": writer.valid(),
        "nothing shown": writer.items(0),
        "many items": writer.items(1_000),
        "a huge input": writer.valid(dense=writer.dense(3e38)),
        "a version in another form": writer.valid(version="newest"),
        "a field too many": _ONE_MORE + writer.valid()[1:] + b"\xc0",
    }
    sent = [SentRecord(name, b"u1", value, Disposition.TAKEN) for name, value in values.items()]
    entity = "u" * 100_000
    value = writer.valid(entity=entity)
    return [*sent, SentRecord("a long entity", entity.encode(), value, Disposition.TAKEN)]


def _damaged(writer: _ImpressionWriter, rng: np.random.Generator) -> list[SentRecord]:
    """Return valid impressions with one byte replaced by a random one."""
    records = []
    for _ in range(30):
        value = bytearray(writer.valid())
        value[int(rng.integers(len(value)))] = int(rng.integers(256))
        records.append(SentRecord("damaged", b"u1", bytes(value), Disposition.OPEN))
    return records
