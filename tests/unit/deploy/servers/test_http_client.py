import asyncio

import pytest

from freshrank.deploy.servers.http_client import read_response


def read(stream: bytes) -> tuple[int, bytes, bool]:
    async def reading() -> tuple[int, bytes, bool]:
        reader = asyncio.StreamReader()
        reader.feed_data(stream)
        reader.feed_eof()
        return await read_response(reader)

    return asyncio.run(reading())


def test_a_body_of_stated_length_is_read_and_the_connection_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a:b\r\n\r\nhelloNEXT"
    assert read(answer) == (200, b"hello", True)


def test_header_names_are_read_in_any_case_and_an_announced_close_is_seen() -> None:
    answer = b"HTTP/1.1 422 Nope\r\nCONTENT-LENGTH:2\r\nconnection: Close\r\n\r\n{}"
    assert read(answer) == (422, b"{}", False)


def test_chunks_are_put_together() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\n\r\n"
    )
    assert read(answer) == (200, b"abcdefg", True)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_half_an_answer_or_none_at_all_is_a_connection_error(stream: bytes) -> None:
    with pytest.raises(ConnectionError):
        read(stream)
