"""A power switch outside of all nodes: it cuts a node's power when a fence agent (fence_lab.py) asks it to.

It says what it was asked, and can have a fault.
"""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from . import wire
from .fence_lab import PORT

#: What is wrong: it answers "done" and does nothing; it never answers; it switches the node on again.
Fault = Literal["lies", "hangs", "reboots"]

AGENT = Path(__file__).with_name("fence_lab.py")
_SECONDS = 30.0
# What makes the socket must be in the switch's network; who has it need not be.
_LISTEN = """
import socket, sys
listening = socket.create_server(("", int(sys.argv[1])))
socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b"."], [listening.fileno()])
"""


def config(agent: Path, address: str, *nodes: str, timeout: str = "5s") -> str:
    """The tables [fence.NODE] of all nodes; `address`: that of the switch; `timeout`: that of the agent."""
    return "".join(
        f"""
[fence.{name}]
agent = "{agent}"
options = {{ ip = "{address}", plug = "{name}" }}
timeout = "{timeout}"
"""
        for name in nodes
    )


class Outlet(Protocol):
    """Where a node gets its power from."""

    @property
    def name(self) -> str:
        """The node's."""

    @property
    def alive(self) -> bool:
        """Whether the node has power."""

    def kill(self) -> object:
        """Take it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question to the switch: who asked for which action on which node, and what was answered.

    `at`: when that was done, in CLOCK_MONOTONIC seconds. `answer`: empty if there was none.
    """

    at: float
    by: str
    action: str
    node: str
    answer: str


class PowerSwitch:
    """A context manager: it answers while it is entered, in a network namespace.

    `outlets`: by the address from which the node asks.
    """

    def __init__(self, netns: str, outlets: Mapping[str, Outlet]) -> None:
        self._names = {address: outlet.name for address, outlet in outlets.items()}
        self._outlets = {outlet.name: outlet for outlet in outlets.values()}
        #: What is wrong, by the name of the node.
        self.faults: dict[str, Fault] = {}
        #: Every question, in the order of the answers.
        self.asked: list[Asked] = []
        self._listening = _listen(netns)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def fenced(self) -> list[tuple[str, str]]:
        """Who was to be powered off, each with the node that wanted it first; in order, and each time."""
        return [(each.by, each.node) for each in self.asked if each.action == "off"]

    def proven(self, node: str) -> float:
        """When the switch first told somebody that the node is off."""
        return next(each.at for each in self.asked if each.node == node and each.answer == "OFF")

    def _accept(self) -> None:
        while True:
            try:
                connection, (address, _) = self._listening.accept()
            except OSError:  # it was shut down
                return
            threading.Thread(target=self._answer, args=(connection, self._names[address]), daemon=True).start()

    def _answer(self, connection: socket.socket, by: str) -> None:
        with connection, contextlib.suppress(OSError):  # whoever asked may be gone
            action, _, node = connection.makefile().readline().strip().partition(" ")
            answer = self._act(action, node)
            self.asked.append(Asked(at=time.monotonic(), by=by, action=action, node=node, answer=answer))
            if answer:
                connection.sendall(f"{answer}\n".encode())
            else:
                connection.recv(1)  # until the agent is ended

    def _act(self, action: str, name: str) -> str:
        """Do it, and return the answer; empty: none is ever given."""
        outlet, fault = self._outlets[name], self.faults.get(name)
        if action != "off":
            return "ON" if outlet.alive or fault == "reboots" else "OFF"
        if fault == "hangs":
            return ""
        if fault != "lies" and outlet.alive:
            outlet.kill()
        return "done"


def _listen(netns: str) -> socket.socket:
    """A socket that listens in a network namespace."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [sys.executable, "-I", "-S", "-c", _LISTEN, str(PORT), str(theirs.fileno())]
        subprocess.run(wire.in_netns(netns, argv), pass_fds=[theirs.fileno()], check=True, timeout=_SECONDS)
        _, (listening,), _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=listening)
