"""A member of etcd that answers what a test has scripted, in this order, and fails the test for all else."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

HEADER = {"cluster_id": "1", "member_id": "2", "revision": "9", "raft_term": "3"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def reading(value: str | None = None, *, lease: int = 0, revision: int = 5) -> tuple[str, Any]:
    """The answer to a linearizable read; None: there is no key."""
    if value is None:
        return "kv/range", {"header": HEADER}
    key: dict[str, Any] = {"key": b64("/failoverd/VI_1"), "create_revision": "4", "mod_revision": str(revision)}
    key |= {"version": "1", "value": b64(value)} | ({"lease": str(lease)} if lease else {})
    return "kv/range", {"header": HEADER, "kvs": [key], "count": "1"}


def keeping(lease: int, ttl: int | None) -> tuple[str, Any]:
    """The answer to a renewal; `ttl` None: the lease has ended, which is no error of HTTP."""
    return "lease/keepalive", {"result": {"header": HEADER, "ID": str(lease)} | ({"TTL": str(ttl)} if ttl else {})}


def granting(lease: int, ttl: int) -> tuple[str, Any]:
    return "lease/grant", {"header": HEADER, "ID": str(lease), "TTL": str(ttl)}


def changing(*, succeeded: bool) -> tuple[str, Any]:
    return "kv/txn", {"header": HEADER} | ({"succeeded": True} if succeeded else {})


def failing(path: str, status: int, error: str, code: int) -> tuple[str, Any]:
    return path, (status, {"error": error, "message": error, "code": code})


class Member:
    """It answers `script`, entries of a path below /v3/ and an answer; an answer of bytes is sent as it is.

    `asked` has the path and the question of each request.
    """

    def __init__(self, *script: tuple[str, Any]) -> None:
        self._script = list(script)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.unexpected: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                return
            line, *headers = head.split("\r\n")
            (length,) = [int(each.partition(":")[2]) for each in headers if each.startswith("Content-Length:")]
            question = json.loads(await reader.readexactly(length))
            path = line.removeprefix("POST /v3/").removesuffix(" HTTP/1.1")
            self.asked.append((path, question))
            expected, answer = self._script.pop(0) if self._script else ("nothing", None)
            if path != expected:
                self.unexpected.append(f"{path} {question}; expected {expected}")
                return
            if answer is None:  # it never answers
                await asyncio.Event().wait()
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            content = body if isinstance(body, bytes) else _reply(status, json.dumps(body).encode(), path)
            writer.write(content)
            await writer.drain()
            if isinstance(body, bytes):
                return

    def done(self) -> None:
        """All of the script was asked for, and nothing else."""
        assert self.unexpected == []
        assert self._script == []

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


def _reply(status: int, body: bytes, path: str) -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n".encode()
    if path == "lease/keepalive":  # which etcd's gateway streams
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
