"""The control socket: what it answers, to whom, and that no client can do more than end its own connection."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import socket
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from failoverd.daemon.access import Peer
from failoverd.daemon.control.connection_limits import ConnectionLimits
from failoverd.daemon.control.server import REQUEST_MAX_BYTES, Control, ControlError, Refused

Answer = dict[str, Any]


async def status(params: Mapping[str, Any], peer: Peer) -> Answer:
    return {"params": dict(params), "uid": peer.uid, "group": os.getgid() in peer.gids, "pid": peer.pid}


async def refuse(params: Mapping[str, Any], _peer: Peer) -> Answer:
    raise Refused(f"there is no instance {params['instance']}", "known are: VI_1")


async def broken(_params: Mapping[str, Any], _peer: Peer) -> Answer:
    raise KeyError("ours")


async def timed_out_inside(_params: Mapping[str, Any], _peer: Peer) -> Answer:
    raise TimeoutError


async def hang(_params: Mapping[str, Any], _peer: Peer) -> Answer:
    await asyncio.Event().wait()
    return {}


async def odd(_params: Mapping[str, Any], _peer: Peer) -> Any:
    return {"worst_case": float("inf")}


async def large(_params: Mapping[str, Any], _peer: Peer) -> Any:
    return {"text": "x" * 3_000_000}


VERBS = {
    "status": status,
    "refuse": refuse,
    "broken": broken,
    "inside": timed_out_inside,
    "hang": hang,
    "odd": odd,
    "large": large,
}


ACTS = {"act": status}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
async def control(path: Path) -> AsyncIterator[Control]:
    made = Control(path, VERBS, ACTS)
    made.take()
    made.serve()
    yield made
    await made.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, raw: bytes) -> Answer:
        if raw:
            self.writer.write(raw)
        line = await asyncio.wait_for(self.reader.readline(), 30)
        assert line.endswith(b"\n")
        reply = json.loads(line)
        assert isinstance(reply, dict)
        assert reply["version"] == 1
        return reply

    async def ask(self, verb: str, **params: Any) -> Answer:
        return await self.send(json.dumps({"version": 1, "verb": verb, **params}).encode() + b"\n")

    async def gone(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), 30) == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionResetError):
            await self.writer.wait_closed()


async def connect(path: Path) -> Client:
    return Client(*await asyncio.open_unix_connection(str(path), limit=8_000_000))


@pytest.fixture
async def client(control: Control, path: Path) -> AsyncIterator[Client]:
    assert control
    made = await connect(path)
    yield made
    await made.close()


async def test_a_verb_is_answered_and_told_who_asks(client: Client) -> None:
    for number in (1, 2):
        reply = await client.ask("status", n=number)
        assert reply["ok"] is True
        assert reply["result"] == {
            "params": {"n": number},
            "uid": os.getuid(),
            "group": True,
            "pid": os.getpid(),
        }


async def test_a_long_answer_arrives_whole(client: Client) -> None:
    assert len((await client.ask("large"))["result"]["text"]) == 3_000_000


async def test_a_refusal_is_answered_with_its_hint(client: Client) -> None:
    reply = await client.ask("refuse", instance="VI_9")
    assert reply == {"version": 1, "ok": False, "error": "there is no instance VI_9", "hint": "known are: VI_1"}


@pytest.mark.parametrize(("verb", "kind"), [("broken", "KeyError"), ("inside", "TimeoutError"), ("odd", "ValueError")])
async def test_a_bug_in_a_handler_is_logged_and_the_client_told(client: Client, verb: str, kind: str) -> None:
    with capture_logs() as logs:
        reply = await client.ask(verb)
    assert reply["error"] == f"internal error in {verb}: {kind}"
    assert [(line["event"], line["verb"]) for line in logs] == [("request failed", verb)]
    assert (await client.ask("status"))["ok"]


async def test_that_no_client_can_be_taken_is_said_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failoverd.daemon.control.server.ACCEPT_RETRY_INTERVAL_S", 0.01)
    failures = iter([OSError(errno.EMFILE, "Too many open files")] * 3)
    plain = socket.socket.accept

    def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
        if (error := next(failures, None)) is not None:
            raise error
        return plain(listening)

    monkeypatch.setattr(socket.socket, "accept", accept)
    control = Control(path, VERBS, ACTS)
    control.take()
    with capture_logs() as logs:
        control.serve()
        client = await connect(path)
        assert (await client.ask("status"))["ok"]
    assert [line["event"] for line in logs] == ["trouble", "trouble is over"]
    assert "Too many open files" in logs[0]["text"]
    await client.close()
    await control.close()


async def test_a_handler_has_a_deadline(path: Path) -> None:
    control = Control(path, VERBS, ACTS, handler_timeout=0.01)
    control.take()
    control.serve()
    client = await connect(path)
    assert (await client.ask("hang"))["error"] == "hang took longer than 0.01 s"
    await client.close()
    await control.close()


@pytest.mark.parametrize(
    ("raw", "error", "hint"),
    [
        (b"\x00\xff\xfe\n", "not JSON", '{"version": 1, "verb": "status"}'),
        (b"\n", "not JSON", "one line"),
        (b"[" * 60_000 + b"\n", "not JSON", "one line"),
        (b"[1]\n", "not a JSON object", "one line"),
        (b'{"verb": "status"}\n', "no version", "one line"),
        (b'{"version": true, "verb": "status"}\n', "no version", "one line"),
        (b'{"version": 2, "verb": "status"}\n', "version 2", "upgrade failoverd"),
        (b'{"version": 0, "verb": "status"}\n', "version 0", "upgrade failoverctl"),
        (b'{"version": 1}\n', "unknown verb null", "expected one of: act, broken, "),
        (b'{"version": 1, "verb": "statsu"}\n', 'unknown verb "statsu"', "did you mean status?"),
        (b'{"version": 1, "verb": ["status"]}\n', "unknown verb", "expected one of"),
    ],
)
async def test_bad_input_is_told_what_is_expected(client: Client, raw: bytes, error: str, hint: str) -> None:
    reply = await client.send(raw)
    assert reply["ok"] is False
    assert error in reply["error"]
    assert hint in reply["hint"]
    assert (await client.ask("status"))["ok"]


async def test_a_line_that_is_too_long_ends_the_connection(client: Client) -> None:
    reply = await client.send(b"x" * (REQUEST_MAX_BYTES + 1))
    assert reply["error"] == "the request is too long"
    assert await client.gone()


async def test_half_a_line_ends_the_connection(client: Client) -> None:
    client.writer.write(b'{"version": 1')
    client.writer.write_eof()
    assert (await client.send(b""))["error"] == "the request is not complete"
    assert await client.gone()


async def test_who_says_nothing_is_left(path: Path) -> None:
    control = Control(path, VERBS, ACTS, first_request_timeout=0.01)
    control.take()
    control.serve()
    client = await connect(path)
    assert await client.gone()
    await client.close()
    await control.close()


async def test_who_says_nothing_more_is_left(path: Path) -> None:
    control = Control(path, VERBS, ACTS, idle_timeout=0.01)
    control.take()
    control.serve()
    client = await connect(path)
    assert (await client.ask("status"))["ok"]
    assert await client.gone()
    await client.close()
    await control.close()


async def test_who_does_not_read_is_left(path: Path) -> None:
    control = Control(path, VERBS, ACTS, idle_timeout=0.2)
    control.take()
    control.serve()
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deaf.connect(str(path))
    deaf.sendall(b'{"version": 1, "verb": "large"}\n')
    for clients in (1, 0):  # it is served, then it is left; nothing else shows that
        while control._places._taken.total() != clients:
            await asyncio.sleep(0.001)
    deaf.close()
    await control.close()


# Their working directory is that of the socket: a pytest that starts meanwhile closes those above it to all but root.
CROWD = """
import os, socket, sys
os.setgroups([])
os.setuid(65534)
crowd = [socket.socket(socket.AF_UNIX) for _ in range(100)]
for one in crowd:
    one.connect(sys.argv[1])
print("here", flush=True)
sys.stdin.read()
"""


async def test_a_crowd_of_strangers_keeps_nobody_else_out(path: Path) -> None:
    path.parent.chmod(0o755)
    control = Control(path, VERBS, ACTS)
    control.take()
    control.serve()
    pipe = asyncio.subprocess.PIPE
    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CROWD, path.name, cwd=path.parent, stdin=pipe, stdout=pipe
    )
    assert crowd.stdout is not None
    assert await crowd.stdout.readline() == b"here\n"
    client = await connect(path)
    assert (await client.ask("act"))["ok"], "root is served"
    await client.close()
    await crowd.communicate(b"")
    await control.close()


async def test_a_crowd_at_the_door_leaves_the_loop_to_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(path, VERBS, ACTS)
    taken: list[Peer] = []

    def take(peer: Peer) -> str:
        taken.append(peer)
        return "full"

    monkeypatch.setattr(control._places, "take", take)
    control.take()
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(path))
    control.serve()
    turns = 0
    while len(taken) < 100:
        before = len(taken)
        await asyncio.sleep(0)
        turns += 1
        assert len(taken) - before <= 1
    assert turns >= 100
    await control.close()


async def turning(turns: list[None]) -> None:
    while True:
        turns.append(None)
        await asyncio.sleep(0)


@pytest.mark.parametrize("may_act", [True, False])
async def test_requests_without_pause_leave_the_loop_to_others(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, may_act: bool
) -> None:
    monkeypatch.setattr(Peer, "known_to_act", may_act)
    turns: list[None] = []
    asked: list[int] = []

    async def now(_params: Mapping[str, Any], _peer: Peer) -> Answer:
        asked.append(len(turns))
        return {}

    control = Control(path, {"now": now}, {})
    control.take()
    control.serve()
    clients = [await connect(path) for _ in range(8)]
    others = asyncio.create_task(turning(turns))
    for client in clients:
        client.writer.write(b'{"version": 1, "verb": "now"}\n' * 20)
    for client in clients:
        for _ in range(20):
            assert (await client.send(b""))["ok"]
    assert len(asked) == 160
    at_once = max(Counter(asked).values())
    assert at_once <= (len(clients) if may_act else 1), "one of each client in a turn, or one of all who only look"
    others.cancel()
    for client in clients:
        await client.close()
    await control.close()


async def test_what_strangers_ask_for_does_not_fill_the_log(
    control: Control, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control
    monkeypatch.setattr("failoverd.daemon.control.server.access.Peer.may_act", refused)
    with capture_logs() as lines:
        for _ in range(50):
            assert not (await client.ask("act"))["ok"]
            assert not (await client.ask("broken"))["ok"]
    assert sorted(line["event"] for line in lines) == ["refused: neither root nor in the group", "request failed"]


async def refused(_peer: Peer) -> bool:
    return False


async def test_who_finds_no_place_is_told_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control(path, VERBS, ACTS)
    monkeypatch.setattr(control, "_places", ConnectionLimits(clients=2, reserved=1))
    control.take()
    control.serve()
    first, second = await connect(path), await connect(path)
    assert (await first.ask("status"))["ok"]
    assert (await second.ask("status"))["ok"]
    third = await connect(path)
    reply = json.loads(await asyncio.wait_for(third.reader.readline(), 30))
    assert reply["error"] == "too many clients"
    assert await third.gone()
    assert (await first.ask("status"))["ok"]
    for client in (first, second, third):
        await client.close()
    await control.close()


async def test_closing_ends_those_who_wait(path: Path) -> None:
    control = Control(path, VERBS, ACTS)
    control.take()
    control.serve()
    client = await connect(path)
    assert (await client.ask("status"))["ok"]
    client.writer.write(b'{"version": 1, "verb": "hang"}\n')
    await control.close()
    assert await client.gone()
    await client.close()
    assert not path.exists()


async def test_everybody_may_connect(control: Control, path: Path) -> None:
    assert control
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


@pytest.mark.parametrize("turns", range(2, 12))  # before, it may be in the middle of an accept
async def test_who_hangs_up_before_the_answer_is_no_trouble(path: Path, turns: int) -> None:
    """At whatever moment the daemon then ends: nothing is left that asyncio complains of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    control = Control(path, VERBS, ACTS)
    control.take()
    for _ in range(5):  # they ask, and have gone before anybody reads it
        with socket.socket(socket.AF_UNIX) as impatient:
            impatient.connect(str(path))
            impatient.sendall(b'{"version": 1, "verb": "status"}\n' * 2)
    control.serve()
    for _ in range(turns):
        await asyncio.sleep(0)
    await control.close()
    gc.collect()
    assert complaints == []


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen(8)
    return made


@pytest.mark.parametrize("whose", ["a dead daemon's", "held by systemd for an older failoverd"])
async def test_a_socket_that_is_there_already_is_replaced(path: Path, whose: str) -> None:
    with listening(path) as former:
        if whose == "a dead daemon's":
            former.close()
        control = Control(path, VERBS, ACTS)
        control.take()
        control.serve()
        client = await connect(path)
        assert (await client.ask("status"))["ok"]
        await client.close()
        await control.close()
    assert not path.exists()


async def test_who_asks_while_it_starts_is_answered_when_it_has_started(path: Path) -> None:
    control = Control(path, VERBS, ACTS)
    control.take()
    early = await connect(path)
    early.writer.write(b'{"version": 1, "verb": "status"}\n')
    control.serve()
    assert (await early.send(b""))["ok"]
    await early.close()
    await control.close()


async def test_a_file_in_the_way_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(ControlError, match="is not a socket: mv "):
        Control(path, VERBS, ACTS).take()
    assert path.read_text() == "mine"


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="a writable --runtime-dir"):
        Control(tmp_path / "absent" / "control.sock", VERBS, ACTS).take()


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with pytest.raises(ControlError, match=r"too long.*shorter"):
        Control(deep / "control.sock", VERBS, ACTS).take()


ASK = """
import os, socket, sys
os.setgroups([int(gid) for gid in sys.argv[3:]])
os.setgid(65534)
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[1])
    for verb in ("status", "act"):
        peer.sendall(b'{"version": 1, "verb": "%s"}\\n' % verb.encode())
        print(peer.makefile().readline(), end="")
"""


@pytest.mark.parametrize(
    ("uid", "groups", "acts"),
    [
        (0, (), True),
        (65534, (), False),
        (65534, (4242, 100), True),  # a member of the operators' group
        (65534, tuple(range(10_000, 10_200)), False),
    ],
)
async def test_all_may_ask_and_only_operators_may_act(
    path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, groups: tuple[int, ...], acts: bool
) -> None:
    monkeypatch.setattr("failoverd.daemon.users.grp.getgrnam", lambda _: SimpleNamespace(gr_gid=4242))
    path.parent.chmod(0o755)
    control = Control(path, VERBS, ACTS)
    control.take()
    control.serve()
    argv = (sys.executable, "-c", ASK, path.name, str(uid), *map(str, groups))
    client = await asyncio.create_subprocess_exec(*argv, cwd=path.parent, stdout=asyncio.subprocess.PIPE)
    told, _ = await client.communicate()
    asked, acted = (json.loads(line) for line in told.splitlines())
    assert (asked["ok"], acted["ok"]) == (True, acts)
    if not acts:
        assert acted["error"] == "act is for root and the members of the group failoverd"
        assert "adduser nobody failoverd" in acted["hint"]
    await control.close()
