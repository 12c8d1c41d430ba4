"""The laboratory as a whole: made in a few seconds, gone in one, whatever happens in between.

It is a context manager; it also cleans up at exit and on SIGTERM or SIGHUP, and what a SIGKILL leaves behind is
removed by the next laboratory that starts.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from . import status_client, units, vrrp, waiting, wire
from .client import Client
from .node import Node, Settings
from .profiles import (
    CLIENT_ADDRESS,
    NODES,
    PROFILES,
    UPSTREAM_ADDRESS,
    UPSTREAM_TO_CLIENT,
    Agent,
    NodeName,
    ProfileName,
    Source,
)
from .run import end_as_by_ctrl_c, new_run, remove_dead_runs
from .upstream import Upstream

T = TypeVar("T")

PROGRAMS = ("ip", "nsenter", "unshare", "keepalived", "bird", "birdc", "vtysh", "dbus-daemon", "journalctl", "sysctl")

_SESSION_SECONDS = 15.0
_VIP_SECONDS = 10.0
_SERVING_SECONDS = 30.0


class Lab:
    """Three nodes, upstream and client in one of the two profiles.

    `agent` is what follows keepalived on the nodes, `sources` how keepalived tells failoverd, `advert` advert_int in
    seconds, `track` whether keepalived watches the track files, `extra_config` text appended to every failoverd.toml.
    On entry left is MASTER, and its mastership has reached upstream, unless `agent` is "none".
    """

    def __init__(
        self,
        profile: ProfileName = "hosting",
        *,
        agent: Agent = "failoverd",
        sources: Collection[Source] = ("fifo", "hook"),
        advert: float = 0.1,
        track: bool = False,
        extra_config: str = "",
    ) -> None:
        self.profile = PROFILES[profile]
        self._settings = Settings(
            profile=self.profile,
            agent=agent,
            sources=tuple(sources),
            advert=advert,
            track=track,
            extra_config=extra_config,
        )
        self._closed = False
        self.run = new_run()
        self.nodes: dict[NodeName, Node] = {name: Node(self.run, name, self._settings) for name in NODES}
        self.upstream = Upstream(self.run, self.profile)
        self.client = Client(self.run, self.profile.addresses)

    @property
    def left(self) -> Node:
        """The node of the highest priority."""
        return self.nodes["left"]

    @property
    def right(self) -> Node:
        """The node of the second priority."""
        return self.nodes["right"]

    @property
    def center(self) -> Node:
        """The node of the lowest priority."""
        return self.nodes["center"]

    def __enter__(self) -> Self:
        missing = missing_requirements()
        if missing:
            raise RuntimeError(f"the laboratory needs {', '.join(missing)}")
        atexit.register(self.close)
        end_as_by_ctrl_c()
        try:
            remove_dead_runs()
            self.run.make()
            self._start()
        except Exception as error:
            self._say_where_logs_are(error)
            self.close()
            raise
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception):
                self._say_where_logs_are(error)
        finally:
            self.close()

    def close(self) -> None:
        """End everything and leave nothing; may be called twice."""
        if self._closed:
            return
        self._closed = True
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self.client.stop()
            self.upstream.stop()
            for node in self.nodes.values():
                node.end()
            self.run.remove()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            atexit.unregister(self.close)

    def wait_for(
        self, description: str, observe: Callable[[], T], *, within: float, until: Callable[[T], object] = bool
    ) -> T:
        """As waiting.wait_for; when it fails, the logs of all nodes are kept and the error says where."""
        try:
            return waiting.wait_for(description, observe, within=within, until=until)
        except waiting.NotInTimeError as error:
            self._say_where_logs_are(error)
            raise

    def vip_holders(self, address: str | None = None) -> list[NodeName]:
        """The nodes that have the VIP (None: the profile's first) on an interface."""
        wanted = address or self.profile.addresses[0]
        return [name for name, node in self.nodes.items() if node.has_vip(wanted)]

    def wait_until_served_by(self, name: NodeName, within: float = _SERVING_SECONDS) -> None:
        """Wait until upstream sends all that the profile serves to `name`; `within` is seconds."""
        self.wait_for(
            f"upstream's best route to {', '.join(self.profile.prefixes)} leads to {name}",
            lambda: [self.upstream.best_next_hop(prefix) for prefix in self.profile.prefixes],
            until=lambda hops: set(hops) == {name},
            within=within,
        )

    def wait_until_answered_by(self, name: NodeName, within: float = _SERVING_SECONDS) -> None:
        """Wait until `name` answers the client; `within` is seconds."""
        self.wait_for(
            f"{name} answers the client", self.client.answering_node, until=lambda node: node == name, within=within
        )

    def wait_for_metrics(self, wanted: dict[NodeName, int], within: float = _SERVING_SECONDS) -> None:
        """Wait until upstream hears the prefix from exactly these nodes, with these metrics; `within` is seconds."""
        self.wait_for(
            f"upstream sees {wanted}",
            lambda: self.upstream.route_metrics(self.profile.prefixes[0]),
            until=lambda metrics: metrics == wanted,
            within=within,
        )

    def wait_until_hears_master(self, name: NodeName, within: float = _VIP_SECONDS) -> None:
        """Wait until keepalived on `name`, started just now, knows of the MASTER; `within` is seconds."""
        self.wait_for(f"{name} hears the MASTER", lambda: vrrp.adverts_heard(self.nodes[name]), within=within)

    def wait_for_phase(self, name: NodeName, phase: str, within: float = _SERVING_SECONDS) -> dict[str, Any]:
        """Wait until failoverd on `name` is in `phase`, and return its instance's status; `within` is seconds."""
        return self.wait_for(
            f"failoverd on {name} says {phase}",
            lambda: status_client.instance(self.nodes[name]),
            until=lambda instance: instance["phase"] == phase,
            within=within,
        )

    def timeline(self) -> str:
        """What all nodes logged, in one order of time."""
        return self._journalctl("--output=short-precise", "--merge")

    def messages(self, name: NodeName, unit: str) -> list[tuple[float, str]]:
        """What a unit of a node has logged, in all the node's lives: seconds since the epoch, and the message."""
        machine = (self.nodes[name].disk / "machine-id").read_text(encoding="ascii").strip()
        lines = self._journalctl("--output=json", "--merge", f"_MACHINE_ID={machine}", f"--unit={unit}").splitlines()
        entries = [json.loads(line) for line in lines]
        return [
            (int(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry["__REALTIME_TIMESTAMP"])) / 1e6, str(entry["MESSAGE"]))
            for entry in entries
        ]

    def keep_logs(self) -> Path:
        """Copy logs and configurations to a directory that outlives the laboratory, and return it."""
        kept = Path(tempfile.mkdtemp(prefix=f"failoverd-lab-{self.run.number}-"))
        (kept / "timeline").write_text(self.timeline(), encoding="utf-8")
        for actor in (*NODES, "upstream"):
            if (self.run.work / actor).is_dir():
                shutil.copytree(self.run.work / actor, kept / actor, symlinks=True, ignore=_sockets)
        return kept

    def _say_where_logs_are(self, error: Exception) -> None:
        if not getattr(error, "__notes__", None):
            error.add_note(f"logs of all nodes: {self.keep_logs()}")

    def _journalctl(self, *options: str) -> str:
        argv = ["journalctl", "--no-pager", "--quiet", f"--directory={self.run.work / 'journal'}", *options]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30).stdout

    def _start(self) -> None:
        (self.run.work / "journal").mkdir()
        self._wire()
        self.upstream.start()
        for node in self.nodes.values():
            node.make_disk()
            node.launch(units.NODE_TARGET)
        for node in self.nodes.values():
            node.wait_until_booted()
        if self.profile.bird:
            self.wait_for(
                "upstream's BGP sessions with all nodes are established",
                self.upstream.bgp_sessions,
                until=lambda peers: peers == set(NODES),
                within=_SESSION_SECONDS,
            )
        # Left is first, so that it is MASTER: with nopreempt the first one stays.
        self.left.systemctl("start", units.VRRP_TARGET)
        for address in self.profile.addresses:
            self.left.wait_for_vip(address, within=_VIP_SECONDS)
        for node in (self.right, self.center):
            node.systemctl("start", units.VRRP_TARGET)
        for name in ("right", "center"):
            self.wait_until_hears_master(name)
        if self._settings.agent != "none":
            self.wait_until_served_by("left")

    def _wire(self) -> None:
        fabric, upstream, client = (self.run.netns(role) for role in ("fabric", "upstream", "client"))
        wire.make_netns(fabric, client)
        wire.make_netns(upstream, forwarding=True)
        bridges = ("br0", *(f"br{vlan}" for vlan in self.profile.vlans))
        wire.ip(
            *(f"link add {bridge} type bridge mcast_snooping 0 forward_delay 0" for bridge in bridges),
            *(f"link set {bridge} up" for bridge in bridges),
            f"link add upstream type veth peer name eth0 netns {upstream}",
            "link set upstream master br0 up",
            netns=fabric,
        )
        wire.ip(
            f"link add eth1 type veth peer name eth0 netns {client}",
            f"address add {UPSTREAM_ADDRESS}/24 dev eth0",
            f"address add {UPSTREAM_TO_CLIENT}/24 dev eth1",
            "link set eth0 up",
            "link set eth1 up",
            netns=upstream,
        )
        wire.ip(
            f"address add {CLIENT_ADDRESS}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {UPSTREAM_TO_CLIENT}",
            netns=client,
        )


def missing_requirements() -> list[str]:
    """What this machine lacks for a laboratory; empty if nothing."""
    missing = [] if os.geteuid() == 0 else ["root"]
    return missing + [program for program in PROGRAMS if shutil.which(program) is None]


def _sockets(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if (Path(directory) / name).is_socket()}
