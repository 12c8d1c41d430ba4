"""HTTP/1.1 (RFC 9112) as far as a client needs it that asks for one thing: requests made, and answers parsed.

It does no I/O. What it parses comes from the network: every size has a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: Of the status line and the headers, and of a body.
HEAD_MAX_BYTES = 16 * 1024
BODY_MAX_BYTES = 64 * 1024

_INTERIM = range(100, 200)
_BODYLESS = {204, 304}
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_SHOWN_MAX_CHARS = 60


class BadReply(Exception):
    """The answer is not HTTP, exceeds a limit, or has ended early. Its text is a line for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The status and headers of an answer, by their names in lower case. `size`: bytes up to the body."""

    status: int
    headers: Mapping[bytes, bytes]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. `size`: its bytes; what follows belongs to the next one. `last`: the connection ends with it."""

    status: int
    body: bytes
    size: int
    last: bool


def request(method: str, path: str, host: str, *, body: bytes = b"", keep: bool = False) -> bytes:
    """A request. `host`: for its Host header. `keep`: another request will follow on this connection."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "User-Agent: failoverd", "Accept: */*"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [] if keep else ["Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def head(data: bytes, *, ended: bool) -> Head | None:
    """The head of the final answer at the beginning of `data`; None: it is not complete yet.

    `ended`: no more data will come. Raises BadReply.
    """
    skipped = 0
    while (found := _head(data[skipped:], ended=ended)) is not None:
        if found.status not in _INTERIM:
            return Head(status=found.status, headers=found.headers, size=skipped + found.size)
        skipped += found.size
        if skipped > HEAD_MAX_BYTES:
            raise BadReply(f"the answer has more than {HEAD_MAX_BYTES} bytes of headers")
    return None


def _head(data: bytes, *, ended: bool) -> Head | None:
    if not _may_begin(data):
        raise BadReply(f"the answer is not HTTP/1.1: {shown(data)}")
    end = _BLANK_LINE.search(data, 0, HEAD_MAX_BYTES)
    if end is None:
        if len(data) >= HEAD_MAX_BYTES:
            raise BadReply(f"the answer has more than {HEAD_MAX_BYTES} bytes of headers")
        if ended:
            raise BadReply(
                "the connection ended in the middle of an answer" if data else "the connection ended without an answer"
            )
        return None
    status_line, *lines = _LINE_END.split(data[: end.start()])
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None:
        raise BadReply(f"the answer is not HTTP/1.1: {shown(status_line)}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return Head(status=int(status[1]), headers=headers, size=end.end())


def reply(data: bytes, *, ended: bool) -> Reply | None:
    """The answer at the beginning of `data`; None: it is not complete yet.

    `ended`: no more data will come. Raises BadReply.
    """
    begin = head(data, ended=ended)
    if begin is None:
        return None
    rest = data[begin.size :]
    last = begin.headers.get(b"connection", b"").lower() == b"close"
    body: tuple[bytes, int] | None
    if begin.status in _BODYLESS:
        body = b"", 0
    elif begin.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = _chunks(rest)
    elif (length := begin.headers.get(b"content-length")) is not None:
        size = _number(length, 10)
        body = (rest[:size], size) if len(rest) >= size else None
    else:
        last, body = True, ((rest, len(rest)) if ended else None)
    if body is None and len(rest) > 2 * BODY_MAX_BYTES:
        raise _too_large()
    if body is None and ended:
        raise BadReply("the connection ended in the middle of an answer")
    if body is None:
        return None
    content, size = body
    if len(content) > BODY_MAX_BYTES:
        raise _too_large()
    return Reply(status=begin.status, body=content, size=begin.size + size, last=last)


def _chunks(data: bytes) -> tuple[bytes, int] | None:
    """The content of a chunked body, and its size on the wire; None: it is not complete yet."""
    content, at = b"", 0
    while (line := _LINE_END.search(data, at)) is not None:
        size = _number(data[at : line.start()].partition(b";")[0].strip(), 16)
        at = line.end()
        if size == 0:
            return _after_trailers(data, at, content)
        chunk = data[at : at + size]
        end = _LINE_END.match(data, at + size)
        if len(chunk) < size or end is None:
            if len(data) >= at + size + 2:
                raise BadReply("the answer has a chunk of another size than it declares")
            return None
        content, at = content + chunk, end.end()
        if len(content) > BODY_MAX_BYTES:
            raise _too_large()
    if len(data) - at > _SHOWN_MAX_CHARS:
        raise BadReply(f"the answer has an invalid size: {shown(data[at:])}")
    return None


def _after_trailers(data: bytes, at: int, content: bytes) -> tuple[bytes, int] | None:
    while (line := _LINE_END.search(data, at)) is not None:
        empty = line.start() == at
        at = line.end()
        if empty:
            return content, at
    return None


def _number(text: bytes, base: int) -> int:
    digits = b"0123456789abcdefABCDEF" if base > 10 else b"0123456789"  # noqa: PLR2004
    if not text or len(text) > 16 or text.strip(digits):  # noqa: PLR2004
        raise BadReply(f"the answer has an invalid size: {shown(text)}")
    number = int(text, base)
    if number > BODY_MAX_BYTES:
        raise _too_large()
    return number


def _too_large() -> BadReply:
    return BadReply(f"the answer has more than {BODY_MAX_BYTES} bytes")


def _may_begin(data: bytes) -> bool:
    start = b"HTTP/1."
    return data[: len(start)] == start[: len(data)]


def shown(data: bytes) -> str:
    """The first line of what a foreign program sent, for a person."""
    line = data[: 4 * _SHOWN_MAX_CHARS].decode("utf-8", errors="replace").strip().splitlines()
    text = "".join(each if each.isprintable() else "�" for each in (line[0] if line else ""))
    return f'"{text[:_SHOWN_MAX_CHARS]}"'
