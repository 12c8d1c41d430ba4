"""The upstream router: what the neighbours see.

A real bird that peers BGP with every node's bird and OSPF with every ospfd that runs. Asked over its control socket
(the protocol of birdc: https://gitlab.nic.cz/labs/bird/-/blob/master/client/client.c), because a question by birdc
costs four times as much and the stories ask often.
"""

import re
import socket
import subprocess
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from . import configs
from .profiles import NODES, NodeName, Profile, node_address
from .run import Run
from .waiting import wait_for
from .wire import in_netns

_ANSWER_SECONDS = 5.0
_START_SECONDS = 5.0
_BY_ADDRESS: dict[str, NodeName] = {node_address(node): node for node in NODES}

_REPLY = re.compile(r"(?P<code>\d{4})(?P<more>[- ])(?P<text>.*)")
_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
_ROUTE = re.compile(rf"(?:\S+)?\s+unicast \[(?P<protocol>\S+) (?P<since>{_TIME})[^]]*\](?P<best> \*)?")
_SESSION = re.compile(rf"(?P<name>\S+)\s+BGP\s+\S+\s+\S+\s+(?P<since>{_TIME})")
_VIA = re.compile(r"\s+via (?P<address>\S+)")
_MED = re.compile(r"\s+BGP\.med: (?P<med>\d+)")
_NEIGHBOUR = re.compile(r"(?P<router_id>[\d.]+)\s+\d+\s+(?P<state>\S+)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route that upstream has learnt; `med` is None for OSPF and where none was sent.

    `since`: when it was last changed, seconds since the epoch.
    """

    node: NodeName
    protocol: str
    best: bool
    since: float
    med: int | None = None


class Upstream:
    """The router between the nodes and the client."""

    def __init__(self, run: Run, profile: Profile) -> None:
        self._run = run
        self._profile = profile
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _directory(self) -> Path:
        return self._run.work / "upstream"

    @property
    def _control(self) -> Path:
        return self._directory / "bird.ctl"

    def start(self) -> None:
        """Start bird; returns when it answers."""
        self._directory.mkdir()
        config = self._directory / "bird.conf"
        config.write_text(configs.upstream_bird(self._profile), encoding="utf-8")
        subprocess.run(["bird", "-p", "-c", str(config)], check=True, timeout=_ANSWER_SECONDS)
        argv = ["bird", "-f", "-c", str(config), "-s", str(self._control), "-P", str(self._directory / "bird.pid")]
        self._process = subprocess.Popen(
            self._run.in_cgroup(in_netns(self._run.netns("upstream"), argv)),
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for("upstream's bird answers", lambda: self.ask("show status"), within=_START_SECONDS)

    def stop(self) -> None:
        """End bird without a word to the neighbours."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, command: str) -> list[str]:
        """Ask bird, as `birdc` would, and return the lines of its answer; OSError if it is not there."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(self._control))
            with connection.makefile("r", encoding="utf-8") as answer:
                answer.readline()
                connection.sendall(f"{command}\n".encode())
                lines = []
                for line in answer:
                    reply = _REPLY.match(line)
                    lines.append(reply["text"] if reply else line[1:].rstrip("\n"))
                    if reply and reply["more"] == " ":
                        return lines
        raise ConnectionError(f"bird ended in the middle of its answer to {command!r}")

    def routes(self, prefix: str) -> list[Route]:
        """Every route to `prefix` that upstream knows at this moment, from `show route PREFIX all`."""
        routes: list[Route] = []
        head: re.Match[str] | None = None
        for line in self.ask(f"show route {prefix} all"):
            if found := _ROUTE.match(line):
                head = found
            elif head and (via := _VIA.match(line)) and via["address"] in _BY_ADDRESS:
                node = _BY_ADDRESS[via["address"]]
                since = _epoch(head["since"])
                routes.append(Route(node=node, protocol=head["protocol"], best=bool(head["best"]), since=since))
            elif routes and (found := _MED.match(line)):
                routes[-1] = replace(routes[-1], med=int(found["med"]))
        return routes

    def best_next_hop(self, prefix: str) -> NodeName | None:
        """The node that gets the traffic to `prefix`; None if there is no route, or more than one equal one."""
        best = {route.node for route in self.routes(prefix) if route.best}
        return best.pop() if len(best) == 1 else None

    def next_hops(self, prefix: str) -> set[NodeName]:
        """Every node that announces `prefix`."""
        return {route.node for route in self.routes(prefix)}

    def route_metrics(self, prefix: str) -> dict[NodeName, int]:
        """The MED with which each node announces `prefix` by BGP."""
        return {route.node: route.med for route in self.routes(prefix) if route.med is not None}

    def bgp_sessions(self) -> set[NodeName]:
        """The nodes whose BGP session is established."""
        states = [line.split() for line in self.ask("show protocols")]
        return {node for node in NODES for words in states if words[:2] == [node, "BGP"] and "Established" in words}

    def session_changed(self, node: NodeName) -> float:
        """When the node's BGP session last changed its state, seconds since the epoch."""
        found = (_SESSION.match(line) for line in self.ask(f"show protocols {node}"))
        return next(_epoch(session["since"]) for session in found if session)

    def ospf_neighbours(self) -> dict[NodeName, str]:
        """The nodes that upstream's OSPF hears, with the state of the adjacency in bird's words (`Full`, `Init`)."""
        found = (_NEIGHBOUR.match(line) for line in self.ask("show ospf neighbors nodes"))
        return {
            _BY_ADDRESS[neighbour["router_id"]]: neighbour["state"]
            for neighbour in found
            if neighbour and neighbour["router_id"] in _BY_ADDRESS
        }


def _epoch(time: str) -> float:
    """What bird's `iso long ms` says, which is local time."""
    return datetime.fromisoformat(time).timestamp()
