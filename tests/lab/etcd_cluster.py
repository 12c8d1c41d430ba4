"""Three members of a real etcd, each in a network namespace with two networks: one of the clients, one of the peers."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from failoverd.ports.witness.answer import Answer
from failoverd.ports.witness.etcd import Etcd
from failoverd.ports.witness.url import parse

from .run import new_run, remove_dead_runs
from .waiting import NotInTimeError, wait_for
from .wire import in_netns

MEMBERS = ("m1", "m2", "m3")
_CLONE_NEWNET = 0x40000000
_START_SECONDS = 60.0
_ANSWER_SECONDS = 1.0


def _client_address(member: str) -> str:
    return f"198.51.100.{MEMBERS.index(member) + 1}"


def _peer_address(member: str) -> str:
    return f"203.0.113.{MEMBERS.index(member) + 1}"


class Cluster:
    """A context manager; within it this thread is in the network of the clients."""

    def __init__(self) -> None:
        self._run = new_run()
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        remove_dead_runs()
        self._undo.callback(self._run.remove)
        try:
            self._run.make()
            self._wire()
            self._undo.enter_context(_in_network(self._run.netns("hub")))
            for member in MEMBERS:
                self._start(member)
            self.wait_until(lambda: self.leader() is not None, "a leader")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def urls(self, *members: str) -> str:
        """The URL of a witness with these members; of none: with all."""
        return "etcd://" + ",".join(f"{_client_address(member)}:2379" for member in members or MEMBERS)

    def leader(self) -> str | None:
        """The member that a majority calls its leader; None: there is none."""
        states = {member: self._status(member) for member in MEMBERS}
        votes = [state["leader"] for state in states.values() if state is not None and "leader" in state]
        for member, state in states.items():
            if state is not None and votes.count(state["header"]["member_id"]) * 2 > len(MEMBERS):
                return member
        return None

    def others(self, member: str) -> list[str]:
        """The other two."""
        return [each for each in MEMBERS if each != member]

    def connect(self, netns: str, bridge: str, address: str) -> str:
        """Connect the network of the clients with a bridge in another namespace, by a router that has `address` there.

        `address` with its prefix length. Returns the network of the clients, to which the stations there need a route.
        """
        hub = self._run.netns("hub")
        self._ip("-n", hub, "link", "add", "outside", "type", "veth", "peer", "name", "etcd", "netns", netns)
        self._ip("-n", netns, "link", "set", "etcd", "master", bridge, "up")
        self._ip("-n", hub, "address", "add", address, "dev", "outside")
        self._ip("-n", hub, "link", "set", "outside", "up")
        for member in MEMBERS:
            self._ip("-n", self._run.netns(member), "route", "add", "default", "via", "198.51.100.254")
        argv = in_netns(hub, ["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"])
        subprocess.run(argv, check=True, timeout=20)
        return "198.51.100.0/24"

    def signal(self, member: str, number: signal.Signals) -> None:
        """Send a signal to a member."""
        self._started[member].send_signal(number)
        if number == signal.SIGKILL:
            self._started[member].wait(timeout=_START_SECONDS)

    def cut(self, member: str, *, whole: bool = True) -> None:
        """Cut a member off from its peers, or connect it again. Its clients still reach it."""
        state = "down" if whole else "up"
        self._ip("-n", self._run.netns(member), "link", "set", "peers", state)

    def post(self, member: str, path: str, question: dict[str, str]) -> dict[str, Any]:
        """One request as another program makes it."""
        body = json.dumps(question).encode()
        head = f"POST /v3/{path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((_client_address(member), 2379), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(head + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return dict(json.loads(answer.partition(b"\r\n\r\n")[2]))

    def wait_until(self, condition: Callable[[], object], what: str, within: float = _START_SECONDS) -> None:
        """Wait for a condition."""
        try:
            wait_for(what, condition, within=within, poll=0.05)
        except NotInTimeError as error:
            logs = [f"{each}: {self._log(each).read_text()[-2000:]}" for each in MEMBERS]
            raise AssertionError("\n".join([str(error), *logs])) from error

    def _status(self, member: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            return self.post(member, "maintenance/status", {})
        return None

    def _log(self, member: str) -> Path:
        return self._run.work / f"{member}.log"

    def _wire(self) -> None:
        hub = self._run.netns("hub")
        self._ip("netns", "add", hub)
        self._ip("-n", hub, "link", "set", "lo", "up")
        for network in ("clients", "peers"):
            self._ip("-n", hub, "link", "add", network, "type", "bridge")
            self._ip("-n", hub, "link", "set", network, "up")
        self._ip("-n", hub, "address", "add", "198.51.100.254/24", "dev", "clients")
        for member in MEMBERS:
            own = self._run.netns(member)
            self._ip("netns", "add", own)
            self._ip("-n", own, "link", "set", "lo", "up")
            for network, address in (("clients", _client_address(member)), ("peers", _peer_address(member))):
                veth = ["link", "add", f"{network}-{member}", "type", "veth", "peer", "name", network, "netns", own]
                self._ip("-n", hub, *veth)
                self._ip("-n", hub, "link", "set", f"{network}-{member}", "master", network, "up")
                self._ip("-n", own, "address", "add", f"{address}/24", "dev", network)
                self._ip("-n", own, "link", "set", network, "up")

    def _start(self, member: str) -> None:
        client, peer = f"http://{_client_address(member)}:2379", f"http://{_peer_address(member)}:2380"
        peers = ",".join(f"{each}=http://{_peer_address(each)}:2380" for each in MEMBERS)
        argv = ["etcd", "--name", member, "--data-dir", str(self._run.work / member), "--unsafe-no-fsync"]
        argv += ["--listen-client-urls", client, "--advertise-client-urls", client, "--logger", "zap"]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", peers]
        within = ["nsenter", f"--net=/run/netns/{self._run.netns(member)}", "--", *argv]
        with self._log(member).open("ab") as log:
            self._started[member] = subprocess.Popen(
                self._run.in_cgroup(within), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _close(self) -> None:
        self._undo.close()
        for each in self._started.values():
            each.wait(timeout=_START_SECONDS)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, timeout=20)


@contextlib.contextmanager
def _in_network(name: str) -> Iterator[None]:
    """This thread in a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside, inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        assert libc.setns(inside, _CLONE_NEWNET) == 0
        yield
    finally:
        libc.setns(outside, _CLONE_NEWNET)
        os.close(outside)
        os.close(inside)


class Holders:
    """The nodes of one instance, and the invariant of their leases: no two hold it at once, by the clock of each.

    A holder may serve until `ttl` after it has sent a request that was granted, or until its release.
    """

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self.until: dict[str, float] = {}
        self.answers: list[tuple[str, Answer]] = []

    def node(self, name: str, url: str) -> "Holder":
        """A node. A second one of the same name is the same node after a restart."""
        return Holder(self, name, Etcd(parse(url), name))


class Holder:
    """A node that asks for the lease."""

    def __init__(self, all_nodes: Holders, name: str, etcd: Etcd) -> None:
        self._all = all_nodes
        self._name = name
        self._etcd = etcd

    async def hold(self, timeout: float = 3.0) -> Answer:
        """Ask once, and check the invariant."""
        sent = time.monotonic()
        answer = await self._etcd.hold("VI_1", self._all.ttl, timeout)
        received = time.monotonic()
        self._all.answers.append((self._name, answer))
        if answer.granted:
            others = {name: end - received for name, end in self._all.until.items() if name != self._name}
            assert all(left <= 0 for left in others.values()), f"{self._name} holds it too; seconds left: {others}"
            self._all.until[self._name] = sent + self._all.ttl
        return answer

    async def held(self, *, granted: bool | None = True, within: float = 60.0) -> Answer:
        """Ask until the answer is this one."""
        end = time.monotonic() + within
        while (answer := await self.hold()).granted is not granted:
            assert time.monotonic() < end, f"{self._name}: {answer}"
            await asyncio.sleep(0.05)
        return answer

    async def release(self, timeout: float = 3.0) -> None:
        """Give it up."""
        self._all.until.pop(self._name, None)
        await self._etcd.release("VI_1", timeout)
