"""The calls to one member of etcd 3.4 or later that a lease needs: JSON over HTTP, on one connection.

Reads are linearizable: the member answers them after a majority has confirmed its leader. A member that is cut off
answers with an error, after 7 s.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from dataclasses import dataclass
from typing import Any

from failoverd.ports.witness import http_wire
from failoverd.ports.witness.http_wire import BadReply

_READ_BYTES = 16 * 1024
_OK, _NOT_FOUND = 200, 404
_SHOWN_MAX_CHARS = 100


class EtcdError(Exception):
    """A member has answered with an error, or with what is no answer of etcd. Its text is a line for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it was read. `lease` 0: it has none. `revision`: of its last change, over the whole cluster."""

    value: str
    lease: int
    revision: int


class Member:
    """One member, on a connection of the caller."""

    def __init__(self, connection: socket.socket, authority: str) -> None:
        self._connection = connection
        self._authority = authority
        self._data = b""

    async def read(self, key: str) -> Key | None:
        """The key; None: there is none."""
        return _key(await self._call("kv/range", {"key": _encoded(key)}))

    async def keep_alive(self, lease: int) -> int | None:
        """Renew a lease. Its time to live from now, seconds; None: the lease has ended."""
        answer = _object(await self._call("lease/keepalive", {"ID": str(lease)}), "result")
        return _integer(answer, "TTL") or None

    async def grant(self, ttl: int) -> tuple[int, int]:
        """Make a lease. Its number, and its time to live from now, seconds, which the cluster may have raised."""
        answer = await self._call("lease/grant", {"TTL": str(ttl)})
        lease, granted = _integer(answer, "ID"), _integer(answer, "TTL")
        if not lease or not granted:
            raise EtcdError(f"it granted no lease: {_shown(answer)}")
        return lease, granted

    async def put(self, key: str, value: str, lease: int, revision: int) -> bool:
        """Write the key with a lease, if `revision` is still that of its last change; 0: if there is none.

        False: it is not, or the lease has ended.
        """
        encoded = _encoded(key)
        put = {"key": encoded, "value": _encoded(value), "lease": str(lease)}
        return await self._change(encoded, revision, {"requestPut": put})

    async def delete(self, key: str, revision: int) -> None:
        """Delete the key, if `revision` is still that of its last change."""
        encoded = _encoded(key)
        await self._change(encoded, revision, {"requestDeleteRange": {"key": encoded}})

    async def revoke(self, lease: int) -> None:
        """End a lease, and delete its keys. One that has ended is no error."""
        await self._call("lease/revoke", {"ID": str(lease)}, absent=True)

    async def _change(self, encoded: str, revision: int, change: dict[str, Any]) -> bool:
        compare = {"key": encoded, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
        # The put is refused as a whole with code 5, of HTTP 404, if its lease has ended.
        answer = await self._call("kv/txn", {"compare": [compare], "success": [change]}, absent=True)
        return answer.get("succeeded") is True  # absent if it is false

    async def _call(self, path: str, question: dict[str, Any], *, absent: bool = False) -> dict[str, Any]:
        """The answer, a JSON object. `absent`: that there is no such lease is an empty answer, and no error."""
        body = json.dumps(question).encode()
        request = http_wire.request("POST", f"/v3/{path}", self._authority, body=body, keep=True)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._connection, request)
        ended = False
        while (reply := http_wire.reply(self._data, ended=ended)) is None:
            more = await loop.sock_recv(self._connection, _READ_BYTES)
            self._data, ended = self._data + more, not more
            await asyncio.sleep(0)  # while data waits, sock_recv never does
        self._data = self._data[reply.size :]
        answer = _parsed(reply.body)
        if reply.status == _OK:
            return answer
        if absent and reply.status == _NOT_FOUND and answer.get("code") == 5:  # noqa: PLR2004
            return {}
        reason = answer.get("error") or answer.get("message") or "no reason"
        raise EtcdError(f"HTTP status {reply.status}: {_shown(reason)}")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise BadReply(f"the answer is not a JSON object: {http_wire.shown(body)}")
    return answer


def _key(answer: dict[str, Any]) -> Key | None:
    found = answer.get("kvs", [])
    if not isinstance(found, list) or len(found) > 1 or not isinstance(answer.get("header"), dict):
        raise EtcdError(f"it did not answer with one key: {_shown(answer)}")
    if not found:
        return None
    key = found[0]
    if not isinstance(key, dict):
        raise EtcdError(f"it did not answer with one key: {_shown(answer)}")
    value = key.get("value", "")
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8", errors="replace")
    except (ValueError, TypeError):
        raise EtcdError(f"it did not answer with a value: {_shown(answer)}") from None
    revision = _integer(key, "mod_revision")
    if revision <= 0:
        raise EtcdError(f"it did not answer with a revision: {_shown(answer)}")
    return Key(value=text, lease=_integer(key, "lease"), revision=revision)


def _object(answer: dict[str, Any], name: str) -> dict[str, Any]:
    value = answer.get(name)
    if not isinstance(value, dict):
        reason = answer.get("error")
        raise EtcdError(f"it answered without {name}: {_shown(reason or answer)}")
    return value


def _integer(answer: dict[str, Any], name: str) -> int:
    """A number, which etcd writes as a string, and leaves out if it is 0."""
    value = answer.get(name, "0")
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) <= 20:  # noqa: PLR2004
        return int(value)
    raise EtcdError(f"it answered without a number {name}: {_shown(answer)}")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(each if each.isprintable() else "�" for each in text)[:_SHOWN_MAX_CHARS]
