import asyncio
import itertools
import time
from typing import cast

import pytest

from freshrank.benchmarks.latency.load_client import Connection, Tally, whole_answer

ANSWER = b"HTTP/1.1 200 OK\r\nserver: x\r\nContent-Length: 5\r\n\r\nhello"

WRONG = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


def test_an_answer_is_whole_only_with_its_last_byte() -> None:
    assert [whole_answer(ANSWER[:end]) for end in range(len(ANSWER))] == [None] * len(ANSWER)
    assert whole_answer(ANSWER) == len(ANSWER)
    assert whole_answer(ANSWER + b"HTTP/1.1 2") == len(ANSWER)


def test_an_answer_of_unknown_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        whole_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_only_answers_within_the_counted_time_make_the_figures() -> None:
    tally = Tally(begins=10.0, ends=12.0)
    tally.note(9.9, 10.1, ANSWER)  # sent in the warm-up
    tally.note(10.0, 10.002, ANSWER)
    tally.note(11.0, 11.004, ANSWER)
    tally.note(11.9, 12.1, ANSWER)  # arrived after the end
    result = tally.result()
    assert result.answers_per_s == 1.5
    assert result.p50_ms == pytest.approx(2.0)
    assert result.p99_ms == pytest.approx(4.0)
    assert result.errors == 0


def test_wrong_answers_count_whenever_they_come() -> None:
    tally = Tally(begins=10.0, ends=12.0)
    tally.note(5.0, 5.1, WRONG)
    tally.note(11.0, 11.1, WRONG)
    assert tally.result().errors == 2
    assert tally.result().first_error.startswith("HTTP/1.1 503 Busy")
    assert tally.latencies_ms == []


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


def talk(tally: Tally, received: list[bytes]) -> Wire:
    """A connection that receives those pieces, then loses its peer."""
    wire = Wire()

    async def talking() -> None:
        connection = Connection(itertools.cycle([b"first", b"second"]), tally)
        connection.connection_made(cast(asyncio.BaseTransport, wire))
        for piece in received:
            connection.data_received(piece)
        connection.connection_lost(None)
        await connection.done

    asyncio.run(talking())
    return wire


def test_the_next_request_goes_out_when_the_answer_is_whole_and_not_before() -> None:
    tally = Tally(begins=0.0, ends=time.perf_counter() + 60.0)
    wire = talk(tally, [ANSWER[:30], ANSWER[30:], ANSWER[:10]])
    assert wire.written == [b"first", b"second"]
    assert len(tally.latencies_ms) == 1


def test_a_connection_that_breaks_before_the_end_is_an_error() -> None:
    tally = Tally(begins=0.0, ends=time.perf_counter() + 60.0)
    talk(tally, [])
    assert tally.errors == 1


def test_after_the_end_the_connection_is_closed_and_nothing_more_is_sent() -> None:
    tally = Tally(begins=0.0, ends=0.0)
    wire = talk(tally, [ANSWER])
    assert wire.closed
    assert wire.written == [b"first"]
    assert tally.errors == 0
