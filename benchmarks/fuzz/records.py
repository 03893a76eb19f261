"""Records as producers should never write them, each with what the stated rules make of it.

The rules are those of docs/guarantees.md. Everything follows from the seed, so that a test and a
bench, in memory and over a real broker, meet the same records.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from freshrank.actors.messages import LONGEST_KEY
from freshrank.benchmarks.workloads.record_accounting import Fate, Sent

# Few enough that each has an event before the first odd record: a late one is late only for a
# user who has moved on.
USERS = 40

# Of the largest values, in bytes: ten times what Kafka takes unless it is told to.
LARGE = 10_000_000

# Distinct unknown fields of one round of the corpus, and how many of them a record carries.
UNKNOWN_FIELDS = 100_000
_FIELDS_A_RECORD = 500

_HOUR_MS = 3_600_000


Story: TypeAlias = Sequence[tuple[str, bytes | None, Fate]]
"""Records whose order matters: what is odd, the value, what becomes of it."""


class _Writer:
    """Writes records of one user, each with an id of its own."""

    def __init__(self, rng: np.random.Generator, now_ms: int, run: str, user: int) -> None:
        self.rng = rng
        self.now_ms = now_ms
        self.user = f"u{user}"
        self._run = run
        self._count = 0

    def plain(self) -> dict[str, Any]:
        """A good event, as JSON has it."""
        self._count += 1
        return {
            "event_id": f"{self._run}-{self._count}",
            "user_id": self.user,
            "item_id": int(self.rng.integers(1, 100)),
            "kind": ("view", "click", "order")[int(self.rng.integers(3))],
            "price": float(self.rng.integers(1, 10_000)) / 100,
            "ts": self.now_ms - int(self.rng.integers(2_000)),
        }

    def good(self, **changes: Any) -> bytes:
        """A good event with some fields replaced."""
        return json.dumps(self.plain() | changes).encode()

    def without(self, name: str) -> bytes:
        """A good event that lacks a field."""
        return json.dumps({key: one for key, one in self.plain().items() if key != name}).encode()

    def ending(self, tail: bytes) -> bytes:
        """A good event with `tail` in place of its closing brace."""
        return self.good()[:-1] + tail


def events(seed: int, now_ms: int, rounds: int = 1, large: int = LARGE) -> list[Sent]:
    """The corpus: a good event of each user, then every kind of record `rounds` times, mixed.

    `large` is the size of the largest, in bytes.
    """
    rng = np.random.default_rng(seed)
    first = [_Writer(rng, now_ms, f"{seed}-first", user) for user in range(USERS)]
    sent = [Sent("a good event", f"u{user}".encode(), one.good(event_id=f"{seed}-first-{user}"),
                 Fate.TAKEN) for user, one in enumerate(first)]  # fmt: skip
    told: list[tuple[_Writer, Story]] = []
    for number in range(rounds):
        for family in _FAMILIES:
            user = int(rng.integers(USERS))
            writer = _Writer(rng, now_ms, f"{seed}-{number}-{family.__name__}", user)
            told += [(writer, story) for story in family(writer)]
    large_writer = _Writer(rng, now_ms, f"{seed}-large", 0)
    told += [
        (large_writer, story) for story in [*_large(large_writer, large), *_unknown(large_writer)]
    ]
    order = rng.permutation(len(told)).tolist()
    return sent + [one for at in order for one in _keyed(*told[at])]


def _keyed(writer: _Writer, story: Story) -> Iterator[Sent]:
    """Key the records of a story by their user; some that stand alone get no key."""
    alone = len(story) == 1 and story[0][2] in (Fate.TAKEN, Fate.DEAD)
    key = None if alone and writer.rng.random() < 0.2 else writer.user.encode()
    for what, value, fate in story:
        yield Sent(what, key, value, fate)


def _dead(**values: bytes | None) -> list[Story]:
    return [[(what.replace("_", " "), value, Fate.DEAD)] for what, value in values.items()]


def _taken(**values: bytes) -> list[Story]:
    return [[(what.replace("_", " "), value, Fate.TAKEN)] for what, value in values.items()]


def _not_json(writer: _Writer) -> list[Story]:
    good = writer.good()
    return _dead(
        a_tombstone=None,
        nothing=b"",
        half_a_record=good[: len(good) // 2],
        no_json=good.replace(b'"', b"'"),
        two_documents=good + good,
        a_byte_order_mark=b"\xef\xbb\xbf" + good,
        utf_16=good.decode().encode("utf-16"),
        broken_utf_8=writer.good(user_id="?").replace(b"?", b"\xff\xfe"),
        half_a_surrogate=writer.good(user_id="?").replace(b"?", rb"\ud800"),
        a_bare_control_character=writer.good(user_id="?").replace(b"?", b"\0"),
        gzip=b"\x1f\x8b\x08\0" + good,
        avro_in_confluents_frame=b"\0\0\0\0\x01" + good,
        nan=writer.good(price=math.nan),
        infinity=writer.good(price=-math.inf),
        a_nan_that_no_feature_uses=writer.good(unknown=math.nan),
        a_nan_under_half_a_surrogate=writer.ending(rb', "\ud800": NaN}'),
        a_nan_under_a_long_name=writer.good(**{"x" * 100_000: math.nan}),
        open_brackets=writer.ending(b', "deep": ' + b"[" * 100_000),
        closed_brackets=writer.ending(b', "deep": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    )


def _not_of_the_schema(writer: _Writer) -> list[Story]:
    stories = _dead(
        null=b"null",
        a_list=b"[1]",
        a_number=b"1e5",
        a_text=b'"view"',
        a_text_number=writer.good(price="12"),
        a_text_time=writer.good(ts="now"),
        a_fractional_time=writer.good(ts=1.5),
        a_float_for_an_integer=writer.good(item_id=7.0),
        true_for_an_integer=writer.good(item_id=True),
        an_integer_for_true=writer.good(gift=1),
        an_integer_beyond_64_bits=writer.good(item_id=2**63),
        an_integer_below_64_bits=writer.good(item_id=-(2**63) - 1),
        an_integer_of_thousands_of_digits=writer.ending(b', "rank": ' + b"9" * 5_000 + b"}"),
        a_number_beyond_float64=writer.ending(b', "price": 1e999}'),
        an_unknown_kind=writer.good(kind="veiw"),
        a_very_long_kind=writer.good(kind="k" * 100_000),
        an_empty_key=writer.good(user_id=""),
        an_empty_id=writer.good(event_id=""),
        a_key_that_is_too_long=writer.good(user_id="u" * (LONGEST_KEY + 1)),
        a_very_long_id=writer.good(event_id="e" * 100_000),
        an_object_for_a_list=writer.good(tags={"a": 1}),
    )
    for name in writer.plain():
        stories += _dead(**{f"{name}_is_missing": writer.without(name)})
        stories += _dead(**{f"{name}_is_null": writer.good(**{name: None})})
    return stories


def _odd_but_right(writer: _Writer) -> list[Story]:
    twice = f', "event_id": "{writer.plain()["event_id"]}"}}'.encode()
    return _taken(
        white_space=b" \n\t" + writer.good() + b"\n",
        a_field_given_twice=writer.ending(twice),
        the_greatest_integer=writer.good(item_id=2**63 - 1),
        the_least_integer=writer.good(item_id=-(2**63)),
        a_huge_price=writer.good(price=1.7e308),
        a_hugely_negative_price=writer.good(price=-1.7e308),
        the_least_price=writer.good(price=5e-324),
        a_whole_price=writer.good(price=3),
        a_price_of_many_digits=writer.ending(b', "price": ' + b"9" * 300 + b"}"),
        the_longest_key=writer.good(user_id="ü" * LONGEST_KEY),
        a_key_with_a_zero_byte=writer.good(user_id="\0"),
        a_key_that_is_a_path=writer.good(user_id="../../{u}:*\r\n"),
        null_where_it_may_be=writer.good(rank=None),
        unknown_fields_of_every_type=writer.good(a=None, b=[1, {"c": [[]]}], d={"e": 1e308}),
        an_unknown_integer_of_many_digits=writer.ending(b', "x": ' + b"9" * 5_000 + b"}"),
        an_unknown_number_beyond_float64=writer.ending(b', "x": 1e999}'),
        unknown_lists_in_lists=writer.ending(b', "x": ' + b"[" * 100 + b"]" * 100 + b"}"),
    )


def _times(writer: _Writer) -> list[Story]:
    hour, now = _HOUR_MS, writer.now_ms
    late = {"in_1970": 0, "two_hours_ago": now - 2 * hour, "a_year_ago": now - 8_760 * hour}
    return [
        *_dead(
            before_1970=writer.good(ts=-1),
            the_last_time_of_64_bits=writer.good(ts=2**63 - 1),
            beyond_64_bits=writer.good(ts=2**64),
            in_microseconds=writer.good(ts=now * 1_000),
            tomorrow=writer.good(ts=now + 24 * hour),
        ),
        *_taken(soon=writer.good(ts=now + hour // 2), a_minute_ago=writer.good(ts=now - 60_000)),
        *([(what.replace("_", " "), writer.good(ts=ts), Fate.LATE)] for what, ts in late.items()),
    ]


def _again(writer: _Writer) -> list[Story]:
    good, other = writer.good(), writer.plain()
    changed = json.dumps(other | {"price": 1.0}).encode()
    return [
        [("sent twice", good, Fate.TAKEN), ("sent twice", good, Fate.DUPLICATE)],
        [
            ("an id", json.dumps(other).encode(), Fate.TAKEN),
            ("the id of another event", changed, Fate.DUPLICATE),
        ],
    ]


def _damaged(writer: _Writer) -> list[Story]:
    """Bytes of a good record replaced, left out or put in."""
    stories: list[Story] = []
    for _ in range(20):
        value = bytearray(writer.good())
        for _ in range(int(writer.rng.integers(1, 4))):
            at, byte = int(writer.rng.integers(len(value))), int(writer.rng.integers(256))
            if writer.rng.random() < 0.5:
                value[at] = byte
            else:
                value[at : at + 1] = bytes([byte] * int(writer.rng.choice([0, 2])))
        stories.append([("damaged", bytes(value), Fate.OPEN)])
    noise = writer.rng.integers(0, 256, 200, dtype=np.uint8).tobytes()
    return [*stories, [("noise", noise, Fate.OPEN)]]


_FAMILIES: Sequence[Callable[[_Writer], list[Story]]] = (
    _not_json,
    _not_of_the_schema,
    _odd_but_right,
    _times,
    _again,
    _damaged,
)


def _large(writer: _Writer, size: int) -> list[Story]:
    return _dead(
        a_large_text=writer.good(note="x" * size),
        a_large_list=writer.ending(b', "note": [' + b"1," * (size // 2) + b"1]}"),
        large_noise=writer.rng.integers(0, 256, size, dtype=np.uint8).tobytes(),
        a_text_a_little_too_large=writer.good(note="x" * 1_000_000),
    )


def _unknown(writer: _Writer) -> list[Story]:
    """Ever new names of fields: nothing of them may stay."""
    names = iter(range(UNKNOWN_FIELDS))
    stories: list[Story] = []
    for _ in range(UNKNOWN_FIELDS // _FIELDS_A_RECORD):
        fields = {f"unknown_{next(names)}": 1 for _ in range(_FIELDS_A_RECORD)}
        stories += _taken(unknown_fields=writer.good(**fields))
    at_once = writer.plain() | {f"{one:x}": 1 for one in range(UNKNOWN_FIELDS)}
    return [*stories, *_taken(many_unknown_fields_at_once=msgspec.json.encode(at_once))]
