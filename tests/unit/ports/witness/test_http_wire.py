"""Answers of HTTP, byte for byte, in any pieces."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from failoverd.ports.witness import http_wire
from failoverd.ports.witness.http_wire import BODY_MAX_BYTES, BadReply, Reply, reply

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = [
    (b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"a"}', b'{"a"}'),
    (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", b""),
    (CHUNKED + b'4\r\n{"a"\r\n1;x=y\r\n}\r\n0\r\n\r\n', b'{"a"}'),
    (CHUNKED + b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", b"abc"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
]


@pytest.mark.parametrize(("data", "body"), WHOLE)
def test_an_answer_is_complete_with_its_last_byte(data: bytes, body: bytes) -> None:
    for size in range(len(data)):
        assert reply(data[:size], ended=False) is None
        with pytest.raises(BadReply, match="the connection ended"):
            reply(data[:size], ended=True)
    whole = reply(data + b"HTTP/1.1", ended=False)
    assert whole is not None
    assert (whole.body, whole.size, whole.last) == (body, len(data), False)


def test_without_a_length_the_end_of_the_connection_ends_the_answer() -> None:
    data = b"HTTP/1.0 200 OK\r\n\r\nabc"
    assert reply(data, ended=False) is None
    assert reply(data, ended=True) == Reply(status=200, body=b"abc", size=len(data), last=True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * BODY_MAX_BYTES + 1),
        CHUNKED + b"zz\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"1" * 100,
        CHUNKED + b"2\r\nabcd\r\n",
        CHUNKED + b"fff\r\n%s\r\n" % (b"x" * 0xFFF) * 20,
    ],
)
def test_what_has_no_end_or_no_limit_is_refused(data: bytes) -> None:
    with pytest.raises(BadReply):
        reply(data, ended=False)


@given(st.binary(max_size=200), st.booleans())
@example(b"", True)
def test_any_bytes_are_an_answer_or_refused(data: bytes, ended: bool) -> None:
    for begin in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"):
        with contextlib.suppress(BadReply):
            found = reply(begin + data, ended=ended)
            assert found is not None or not ended
            if found is not None:
                assert 0 < found.size <= len(begin + data)


@given(st.sampled_from(WHOLE), st.integers(0, 200), st.integers(0, 255))
def test_any_changed_byte_is_an_answer_or_refused(whole: tuple[bytes, bytes], at: int, byte: int) -> None:
    data = bytearray(whole[0])
    data[at % len(data)] = byte
    with contextlib.suppress(BadReply):
        reply(bytes(data), ended=True)


@given(st.binary())
def test_what_is_shown_of_foreign_bytes_is_one_short_line(data: bytes) -> None:
    text = http_wire.shown(data)
    assert len(text) <= 62
    assert text.isprintable()
