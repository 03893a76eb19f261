"""Event records that break the rules in every way, each with its disposition.

The rules are those of docs/guarantees.md. The records are a function of the seed: tests and bench,
in memory and over a real broker, send the same ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.records import LONGEST_KEY
from freshrank.benchmarks.workloads.record_accounting import Disposition, Reading, SentRecord

# Few enough that each has an event before the first odd record: an event is late only for a user
# with newer events.
USERS = 40

# Bytes of the largest values: ten times what Kafka takes by default.
LARGE = 10_000_000

# Distinct unknown fields in the corpus, and in one record.
UNKNOWN_FIELDS = 100_000
_FIELDS_A_RECORD = 500

# Of the valid records, those that are sent once more to another partition: so few that a shard
# does not take the producers to be keyed wrong.
_MISPLACED_SHARE = 0.03
# A key that is no text.
_NO_USER = b"\xff"

_HOUR_MS = 3_600_000

RecordSequence: TypeAlias = Sequence[tuple[str, bytes | None, Disposition]]
"""Records whose order matters: description, value, disposition."""


class _EventWriter:
    """Writes records of one user, each with an event id of its own."""

    def __init__(self, rng: np.random.Generator, now_ms: int, run: str, user: int) -> None:
        self.rng = rng
        self.now_ms = now_ms
        self.user = f"u{user}"
        self._run = run
        self._count = 0

    def fields(self) -> dict[str, Any]:
        """Return the fields of a valid event."""
        self._count += 1
        return {
            "event_id": f"{self._run}-{self._count}",
            "user_id": self.user,
            "item_id": int(self.rng.integers(1, 100)),
            "kind": ("view", "click", "order")[int(self.rng.integers(3))],
            "price": float(self.rng.integers(1, 10_000)) / 100,
            "ts": self.now_ms - int(self.rng.integers(2_000)),
        }

    def valid(self, **changes: Any) -> bytes:
        """Return a valid event with some fields replaced."""
        return json.dumps(self.fields() | changes).encode()

    def without(self, name: str) -> bytes:
        """Return a valid event without one of its fields."""
        return json.dumps(
            {key: value for key, value in self.fields().items() if key != name}
        ).encode()

    def ending(self, tail: bytes) -> bytes:
        """Return a valid event with `tail` in place of its closing brace."""
        return self.valid()[:-1] + tail


def events(seed: int, now_ms: int, rounds: int = 1, large: int = LARGE) -> list[SentRecord]:
    """Return the corpus: a valid event of each user, then every kind of record, in random order.

    Each kind comes `rounds` times; `large` is the size of the largest values, in bytes.
    """
    rng = np.random.default_rng(seed)
    first = [_EventWriter(rng, now_ms, f"{seed}-first", user) for user in range(USERS)]
    sent = [
        SentRecord(
            "a valid event",
            f"u{user}".encode(),
            writer.valid(event_id=f"{seed}-first-{user}"),
            Disposition.TAKEN,
        )
        for user, writer in enumerate(first)
    ]
    sequences: list[tuple[_EventWriter, RecordSequence]] = []
    for number in range(rounds):
        for family in _FAMILIES:
            user = int(rng.integers(USERS))
            writer = _EventWriter(rng, now_ms, f"{seed}-{number}-{family.__name__}", user)
            sequences += [(writer, sequence) for sequence in family(writer)]
    writer = _EventWriter(rng, now_ms, f"{seed}-large", 0)
    sequences += [(writer, sequence) for sequence in [*_large(writer, large), *_unknown(writer)]]
    order = rng.permutation(len(sequences)).tolist()
    return sent + [record for at in order for record in _keyed(*sequences[at])]


def _keyed(writer: _EventWriter, sequence: RecordSequence) -> Iterator[SentRecord]:
    """Key the records by their user; some of those that are dead wherever they lie get no key.

    Some valid ones are there again with the key of another user, in another partition: dead.
    """
    for description, value, disposition in sequence:
        key = writer.user.encode()
        if disposition is Disposition.TAKEN and value is not None:
            key = msgspec.json.decode(value, type=Reading).user_id.encode()
            if writer.rng.random() < _MISPLACED_SHARE:
                elsewhere = _of_another_partition(key)
                yield SentRecord("a misplaced record", elsewhere, value, Disposition.DEAD)
        if value is None:  # with the key of a user it would be no dead letter: it forgets them
            key = _NO_USER
        dead = disposition is Disposition.DEAD and value is not None
        anywhere = dead and writer.rng.random() < 0.2
        yield SentRecord(description, None if anywhere else key, value, disposition)


def _of_another_partition(key: bytes) -> bytes:
    """Return a key that lies elsewhere than `key`, in a topic of three and in one of four."""
    others = (f"u{number}".encode() for number in range(1_000))
    return next(
        other
        for other in others
        if all(partition_of(other, count) != partition_of(key, count) for count in (3, 4))
    )


def _dead(**values: bytes | None) -> list[RecordSequence]:
    return [[(_words(name), value, Disposition.DEAD)] for name, value in values.items()]


def _taken(**values: bytes) -> list[RecordSequence]:
    return [[(_words(name), value, Disposition.TAKEN)] for name, value in values.items()]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _not_json(writer: _EventWriter) -> list[RecordSequence]:
    valid = writer.valid()
    return _dead(
        a_tombstone_of_no_user=None,
        nothing=b"",
        half_a_record=valid[: len(valid) // 2],
        no_json=valid.replace(b'"', b"'"),
        two_documents=valid + valid,
        a_byte_order_mark=b"\xef\xbb\xbf" + valid,
        utf_16=valid.decode().encode("utf-16"),
        broken_utf_8=writer.valid(user_id="?").replace(b"?", b"\xff\xfe"),
        half_a_surrogate=writer.valid(user_id="?").replace(b"?", rb"\ud800"),
        a_bare_control_character=writer.valid(user_id="?").replace(b"?", b"\0"),
        gzip=b"\x1f\x8b\x08\0" + valid,
        avro_in_confluents_frame=b"\0\0\0\0\x01" + valid,
        nan=writer.valid(price=math.nan),
        infinity=writer.valid(price=-math.inf),
        a_nan_that_no_feature_uses=writer.valid(unknown=math.nan),
        a_nan_under_half_a_surrogate=writer.ending(rb', "\ud800": NaN}'),
        a_nan_under_a_long_name=writer.valid(**{"x" * 100_000: math.nan}),
        open_brackets=writer.ending(b', "deep": ' + b"[" * 100_000),
        closed_brackets=writer.ending(b', "deep": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    )


def _not_of_the_schema(writer: _EventWriter) -> list[RecordSequence]:
    sequences = _dead(
        null=b"null",
        a_list=b"[1]",
        a_number=b"1e5",
        a_text=b'"view"',
        a_text_number=writer.valid(price="12"),
        a_text_time=writer.valid(ts="now"),
        a_fractional_time=writer.valid(ts=1.5),
        a_float_for_an_integer=writer.valid(item_id=7.0),
        true_for_an_integer=writer.valid(item_id=True),
        an_integer_for_true=writer.valid(gift=1),
        an_integer_beyond_64_bits=writer.valid(item_id=2**63),
        an_integer_below_64_bits=writer.valid(item_id=-(2**63) - 1),
        an_integer_of_thousands_of_digits=writer.ending(b', "rank": ' + b"9" * 5_000 + b"}"),
        a_number_beyond_float64=writer.ending(b', "price": 1e999}'),
        an_unknown_kind=writer.valid(kind="veiw"),
        a_very_long_kind=writer.valid(kind="k" * 100_000),
        an_empty_key=writer.valid(user_id=""),
        an_empty_id=writer.valid(event_id=""),
        a_key_that_is_too_long=writer.valid(user_id="u" * (LONGEST_KEY + 1)),
        a_very_long_id=writer.valid(event_id="e" * 100_000),
        an_object_for_a_list=writer.valid(tags={"a": 1}),
    )
    for name in writer.fields():
        sequences += _dead(**{f"{name}_is_missing": writer.without(name)})
        sequences += _dead(**{f"{name}_is_null": writer.valid(**{name: None})})
    return sequences


def _odd_but_right(writer: _EventWriter) -> list[RecordSequence]:
    twice = f', "event_id": "{writer.fields()["event_id"]}"}}'.encode()
    return _taken(
        white_space=b" \n\t" + writer.valid() + b"\n",
        a_field_given_twice=writer.ending(twice),
        the_greatest_integer=writer.valid(item_id=2**63 - 1),
        the_least_integer=writer.valid(item_id=-(2**63)),
        a_huge_price=writer.valid(price=1.7e308),
        a_hugely_negative_price=writer.valid(price=-1.7e308),
        the_least_price=writer.valid(price=5e-324),
        a_whole_price=writer.valid(price=3),
        a_price_of_many_digits=writer.ending(b', "price": ' + b"9" * 300 + b"}"),
        the_longest_key=writer.valid(user_id="ü" * LONGEST_KEY),
        a_key_with_a_zero_byte=writer.valid(user_id="\0"),
        a_key_that_is_a_path=writer.valid(user_id="../../{u}:*\r\n"),
        null_where_it_may_be=writer.valid(rank=None),
        unknown_fields_of_every_type=writer.valid(a=None, b=[1, {"c": [[]]}], d={"e": 1e308}),
        an_unknown_integer_of_many_digits=writer.ending(b', "x": ' + b"9" * 5_000 + b"}"),
        an_unknown_number_beyond_float64=writer.ending(b', "x": 1e999}'),
        unknown_lists_in_lists=writer.ending(b', "x": ' + b"[" * 100 + b"]" * 100 + b"}"),
    )


def _times(writer: _EventWriter) -> list[RecordSequence]:
    hour, now = _HOUR_MS, writer.now_ms
    late = {"in_1970": 0, "two_hours_ago": now - 2 * hour, "a_year_ago": now - 8_760 * hour}
    return [
        *_dead(
            before_1970=writer.valid(ts=-1),
            the_last_time_of_64_bits=writer.valid(ts=2**63 - 1),
            beyond_64_bits=writer.valid(ts=2**64),
            in_microseconds=writer.valid(ts=now * 1_000),
            tomorrow=writer.valid(ts=now + 24 * hour),
        ),
        *_taken(soon=writer.valid(ts=now + hour // 2), a_minute_ago=writer.valid(ts=now - 60_000)),
        *([(_words(name), writer.valid(ts=ts), Disposition.LATE)] for name, ts in late.items()),
    ]


def _again(writer: _EventWriter) -> list[RecordSequence]:
    valid, other = writer.valid(), writer.fields()
    changed = json.dumps(other | {"price": 1.0}).encode()
    return [
        [("sent twice", valid, Disposition.TAKEN), ("sent twice", valid, Disposition.DUPLICATE)],
        [
            ("an id", json.dumps(other).encode(), Disposition.TAKEN),
            ("the id of another event", changed, Disposition.DUPLICATE),
        ],
    ]


def _damaged(writer: _EventWriter) -> list[RecordSequence]:
    """Return valid records with some bytes replaced, removed or inserted."""
    sequences: list[RecordSequence] = []
    for _ in range(20):
        value = bytearray(writer.valid())
        for _ in range(int(writer.rng.integers(1, 4))):
            at, byte = int(writer.rng.integers(len(value))), int(writer.rng.integers(256))
            if writer.rng.random() < 0.5:
                value[at] = byte
            else:
                value[at : at + 1] = bytes([byte] * int(writer.rng.choice([0, 2])))
        sequences.append([("damaged", bytes(value), Disposition.OPEN)])
    noise = writer.rng.integers(0, 256, 200, dtype=np.uint8).tobytes()
    return [*sequences, [("noise", noise, Disposition.OPEN)]]


_FAMILIES: Sequence[Callable[[_EventWriter], list[RecordSequence]]] = (
    _not_json,
    _not_of_the_schema,
    _odd_but_right,
    _times,
    _again,
    _damaged,
)


def _large(writer: _EventWriter, size: int) -> list[RecordSequence]:
    return _dead(
        a_large_text=writer.valid(note="x" * size),
        a_large_list=writer.ending(b', "note": [' + b"1," * (size // 2) + b"1]}"),
        large_noise=writer.rng.integers(0, 256, size, dtype=np.uint8).tobytes(),
        a_text_a_little_too_large=writer.valid(note="x" * 1_000_000),
    )


def _unknown(writer: _EventWriter) -> list[RecordSequence]:
    """Return records with ever new field names, of which nothing may stay in memory."""
    names = iter(range(UNKNOWN_FIELDS))
    sequences: list[RecordSequence] = []
    for _ in range(UNKNOWN_FIELDS // _FIELDS_A_RECORD):
        fields = {f"unknown_{next(names)}": 1 for _ in range(_FIELDS_A_RECORD)}
        sequences += _taken(unknown_fields=writer.valid(**fields))
    at_once = writer.fields() | {f"{number:x}": 1 for number in range(UNKNOWN_FIELDS)}
    return [*sequences, *_taken(many_unknown_fields_at_once=msgspec.json.encode(at_once))]
