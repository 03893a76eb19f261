"""Records of the impressions topic as no replica writes them, and what becomes of each."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from freshrank.actors.impressions import Impression, encode_impression
from freshrank.benchmarks.workloads.record_accounting import Fate, Sent
from freshrank.deploy.pipelines.pipeline import Pipeline

# Of an array of eight, as MessagePack writes its first byte: here nine follow.
_NINE = b"\x99"
_HOUR_MS = 3_600_000


class _Writer:
    """Writes impressions of one item each."""

    def __init__(self, made: Pipeline, now_ms: int) -> None:
        layout = made.encoder.layout
        self._dense = np.zeros(len(layout.dense), dtype="<f4")
        self._plain = Impression(
            request_id="r",
            entity="u1",
            at_ms=now_ms,
            version="1.0",
            layout=made.encoder.fingerprint,
            join_keys=np.ones(1, dtype="<i8").tobytes(),
            dense=self._dense.tobytes(),
            ids=np.ones(layout.id_width, dtype="<i8").tobytes(),
        )

    def good(self, **changes: Any) -> bytes:
        """An impression with some fields replaced."""
        return encode_impression(msgspec.structs.replace(self._plain, **changes))

    def fields(self, **changes: Any) -> bytes:
        """The same with fields of any type."""
        return msgspec.msgpack.encode(
            list((msgspec.structs.asdict(self._plain) | changes).values())
        )

    def dense(self, value: float) -> bytes:
        """Inputs of which one is `value`."""
        return np.concatenate([self._dense[1:], np.array([value], dtype="<f4")]).tobytes()

    def items(self, count: int) -> bytes:
        """So many items at once."""
        plain = self._plain
        return self.good(
            join_keys=plain.join_keys * count, dense=plain.dense * count, ids=plain.ids * count
        )


def impressions(made: Pipeline, seed: int, now_ms: int, rounds: int = 1) -> list[Sent]:
    """Every kind of impression `rounds` times, mixed."""
    rng = np.random.default_rng(seed)
    writer = _Writer(made, now_ms)
    kinds = [*_dead(writer, now_ms), *_taken(writer), *_damaged(writer, rng)] * rounds
    return [kinds[at] for at in rng.permutation(len(kinds)).tolist()]


def _dead(writer: _Writer, now_ms: int) -> list[Sent]:
    good = writer.good()
    values = {
        "a tombstone": None,
        "nothing": b"",
        "half a record": good[: len(good) // 2],
        "JSON": b'{"event_id": "e"}',
        "a map": msgspec.msgpack.encode({"entity": "u"}),
        "too few fields": msgspec.msgpack.encode(["r", "u"]),
        "broken UTF-8": good.replace(b"\xa2u1", b"\xa2\xff\xfe"),
        "nested without end": _NINE + good[1:] + b"\x91" * 200_000,
        "nested to an end": _NINE + good[1:] + b"\x91" * 200_000 + b"\xc0",
        "an array of four billion": b"\xdd\xff\xff\xff\xff" + good[1:],
        "a binary of four gigabytes": good[:-9] + b"\xc6\xff\xff\xff\xff",
        "a text time": writer.fields(at_ms="now"),
        "a null entity": writer.fields(entity=None),
        "a time beyond 64 bits": writer.fields(at_ms=2**64 - 1),
        "the last time of 64 bits": writer.fields(at_ms=2**63 - 1),
        "the first time of 64 bits": writer.fields(at_ms=-(2**63)),
        "a time in 1970": writer.good(at_ms=0),
        "a time an hour ahead": writer.good(at_ms=now_ms + _HOUR_MS),
        "another layout": writer.good(layout="0" * 16),
        "a very long layout": writer.good(layout="0" * 100_000),
        "odd join keys": writer.good(join_keys=b"123"),
        "no inputs": writer.good(dense=b""),
        "ids of two items": writer.good(ids=b"\0" * 16 * 1_000),
        "NaN": writer.good(dense=writer.dense(np.nan)),
        "Infinity": writer.good(dense=writer.dense(np.inf)),
        "more items than have a rank": writer.items(1 << 16),
    }
    return [Sent(what, b"u1", value, Fate.DEAD) for what, value in values.items()]


def _taken(writer: _Writer) -> list[Sent]:
    values = {
        "a good impression": writer.good(),
        "nothing shown": writer.items(0),
        "many items": writer.items(1_000),
        "a huge input": writer.good(dense=writer.dense(3e38)),
        "a very long entity": writer.good(entity="u" * 100_000),
        "a version that is none": writer.good(version="newest"),
        "a field too many": _NINE + writer.good()[1:] + b"\xc0",
    }
    return [Sent(what, b"u1", value, Fate.TAKEN) for what, value in values.items()]


def _damaged(writer: _Writer, rng: np.random.Generator) -> list[Sent]:
    """One byte of a good impression replaced."""
    found = []
    for _ in range(30):
        value = bytearray(writer.good())
        value[int(rng.integers(len(value)))] = int(rng.integers(256))
        found.append(Sent("damaged", b"u1", bytes(value), Fate.OPEN))
    return found
