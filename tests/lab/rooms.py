"""A site of two rooms, and who serves in it.

Left, right and a witness are in room A, center is in room B. VRRP's multicast needs one link, so the rooms share it, by
a line between their switches that can be cut in each direction.
"""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from failoverd.ctl import client

from . import configs, status_client, units, wire
from .lab import Lab
from .node import Node
from .profiles import NODES, NodeName, node_address

ISOLATION_SECONDS = 3.0
_ROOM_B: tuple[NodeName, ...] = ("center",)
_LISTENER = Path(__file__).with_name("listener.py")
_LISTENER_ADDRESS, _LISTENER_PORT = "10.77.0.20", 8080
TCP = f"tcp://{_LISTENER_ADDRESS}:{_LISTENER_PORT}"
HTTP = f"http://{_LISTENER_ADDRESS}:{_LISTENER_PORT}/"
_SAMPLE_SECONDS = 0.01
#: For what takes a second or a few on a machine that has nothing else to do.
_SECONDS = 30.0

#: This file is there while a node serves.
SERVES = "/run/serves"
#: Begins with keys of the last table of the laboratory's failoverd.toml.
RESOURCES = f"""stop_timeout = "1s"
timeout = "3s"

[instance.VI_1.resource.service]
driver = "exec"
activate = ["/bin/touch", "{SERVES}"]
deactivate = ["/bin/rm", "-f", "{SERVES}"]
observe = ["/bin/sh", "-c", "test -e {SERVES} || exit 3"]
stop_timeout = "1s"
timeout = "3s"
"""


def icmp(name: NodeName) -> str:
    """The node as a witness."""
    return f"icmp://{node_address(name)}"


def quorum(*witnesses: str) -> str:
    """A table [quorum] with these witnesses, and times so short that a story takes seconds."""
    listed = ", ".join(f'"{each}"' for each in witnesses)
    return f"""
[quorum]
witnesses = [{listed}]
isolation_timeout = "{ISOLATION_SECONDS:g}s"
timeout = "500ms"
"""


#: The same list on all nodes: room A reaches four of them without the line, room B one.
WITNESSES = (*map(icmp, NODES), TCP, HTTP)
CONFIG = RESOURCES + quorum(*WITNESSES)


def monotonic(iso: str) -> float:
    """A moment as failoverd tells it, in seconds on the clock of the samples."""
    return datetime.fromisoformat(iso).timestamp() - (time.time() - time.monotonic())


class Samples:
    """Looks every 10 ms at which nodes serve. All times are CLOCK_MONOTONIC seconds."""

    def __init__(self, nodes: dict[NodeName, Node]) -> None:
        self._nodes = nodes
        self._changes: list[tuple[float, frozenset[NodeName]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def begin(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            serving = self._serving(NODES)
            if len(serving) > 1:  # each was looked at in its turn, and this thread may have been stopped in between
                serving &= self._serving(serving)
            if not self._changes or self._changes[-1][1] != serving:
                self._changes.append((time.monotonic(), serving))

    def _serving(self, names: Collection[NodeName]) -> frozenset[NodeName]:
        return frozenset(name for name in names if self._nodes[name].has_file(SERVES))

    def since(self, begin: float) -> list[tuple[float, frozenset[NodeName]]]:
        """Who served from then on: each change, the first one at `begin`."""
        changes = list(self._changes)
        before = [serving for at, serving in changes if at <= begin]
        return [(begin, before[-1] if before else frozenset()), *(each for each in changes if each[0] > begin)]

    def now(self) -> frozenset[NodeName]:
        """Who served at the last look."""
        return self._changes[-1][1] if self._changes else frozenset()

    def served(self, begin: float) -> set[NodeName]:
        """Every node that served at any time from then on."""
        return {name for _, serving in self.since(begin) for name in serving}

    def double(self, begin: float) -> float:
        """For how many seconds in a row, at most, more than one node served from then on."""
        longest, two_since = 0.0, None
        for at, serving in [*self.since(begin), (time.monotonic(), self.now())]:
            if two_since is not None:
                longest = max(longest, at - two_since)
            if len(serving) < 2:
                two_since = None
            elif two_since is None:
                two_since = at
        return longest

    def stopped(self, name: NodeName, begin: float) -> float | None:
        """When the node served no more for the first time from then on, and None if it always did."""
        return next((at for at, serving in self.since(begin) if name not in serving), None)

    def started(self, name: NodeName, begin: float) -> float | None:
        """When the node served for the first time from then on, and None if it never did."""
        return next((at for at, serving in self.since(begin) if name in serving), None)


class Rooms:
    """The site. `lab` has been made with CONFIG, or with other `witnesses`, and with track files.

    A context manager: it samples, and the listener may run, while it is entered.
    """

    def __init__(self, lab: Lab, witnesses: Collection[str] = WITNESSES) -> None:
        self.lab = lab
        self._witnesses = witnesses
        self._fabric = lab.run.netns("fabric")
        self._listener: subprocess.Popen[bytes] | None = None
        wire.ip(
            "link add room_b type bridge mcast_snooping 0 forward_delay 0",
            "link set room_b up",
            "link add a_to_b type veth peer name b_to_a",
            "link set a_to_b master br0 up",
            "link set b_to_a master room_b up",
            *(f"link set {name} master room_b" for name in _ROOM_B),
            netns=self._fabric,
        )
        host = lab.run.netns("witness")
        wire.make_netns(host)
        wire.ip(
            f"link add witness type veth peer name eth0 netns {host}",
            "link set witness master br0 up",
            netns=self._fabric,
        )
        wire.ip(f"address add {_LISTENER_ADDRESS}/24 dev eth0", "link set eth0 up", netns=host)
        self.samples = Samples(lab.nodes)

    def __enter__(self) -> Self:
        self.samples.begin()
        return self

    def __exit__(self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self.samples.end()
        self.kill_witness()

    def add_to_both(self, role: str, address: str) -> str:
        """Make a network namespace that is in both rooms, so that a cut line does not matter to it; returns its name.

        Such is the network of its own for the power switches of a site.
        """
        host = self.lab.run.netns(role)
        wire.make_netns(host)
        # Each room is answered from its own side only.
        argv = wire.in_netns(host, ["sysctl", "--quiet", "--write", "net.ipv4.conf.all.arp_filter=1"])
        subprocess.run(argv, check=True, timeout=_SECONDS)
        wire.ip(
            f"link add {role}_a type veth peer name eth0 netns {host}",
            f"link add {role}_b type veth peer name eth1 netns {host}",
            f"link set {role}_a master br0 up",
            f"link set {role}_b master room_b up",
            netns=self._fabric,
        )
        wire.ip(
            f"address add {address}/24 dev eth0",
            f"address add {address}/32 dev eth1",
            "link set eth0 up",
            "link set eth1 up",
            *(f"route add {node_address(name)}/32 dev eth1 src {address}" for name in _ROOM_B),
            netns=host,
        )
        return host

    # What can go wrong

    def cut(self, *, a_to_b: bool = True, b_to_a: bool = True) -> float:
        """Lose every frame on the line in these directions, and return when that was so."""
        for end, lost in (("a_to_b", a_to_b), ("b_to_a", b_to_a)):
            if lost:
                self._tc("replace", end, "blackhole")
        return time.monotonic()

    def heal(self) -> float:
        """Let the line carry every frame again, and return when that was so."""
        for end in ("a_to_b", "b_to_a"):
            self._tc("replace", end, "pfifo")
        return time.monotonic()

    def _tc(self, verb: str, end: str, discipline: str) -> None:
        argv = ["tc", "qdisc", verb, "dev", end, "root", discipline]
        subprocess.run(wire.in_netns(self._fabric, argv), check=True, timeout=_SECONDS)

    def part(self, *, parted: bool = True) -> float:
        """Lose every frame between left and right, which still reach everybody else; or connect them again."""
        state = "on" if parted else "off"
        wire.ip(
            *(f"link set {name} type bridge_slave isolated {state}" for name in ("left", "right")), netns=self._fabric
        )
        return time.monotonic()

    def start_witness(self) -> float:
        """Start the listener if it does not run, thaw it, and return when that was so."""
        if self._listener is None:
            argv = [sys.executable, "-I", "-S", str(_LISTENER), str(_LISTENER_PORT)]
            self._listener = subprocess.Popen(
                self.lab.run.in_cgroup(wire.in_netns(self.lab.run.netns("witness"), argv)), stdin=subprocess.DEVNULL
            )
        self._listener.send_signal(signal.SIGCONT)
        return time.monotonic()

    def freeze_witness(self) -> float:
        """Stop the listener in the middle of whatever it does, and return when that was so."""
        assert self._listener is not None
        self._listener.send_signal(signal.SIGSTOP)
        return time.monotonic()

    def kill_witness(self) -> float:
        """End the listener if it runs, and return when that was so."""
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait()
            self._listener = None
        return time.monotonic()

    # What is to be waited for

    def wait_until_well(self) -> NodeName:
        """Wait until one node is MASTER and serves and all others can take over, and return that one."""

        def looked() -> list[tuple[str | None, str, bool]]:
            seen = [status_client.instance(node) for node in self.lab.nodes.values()]
            return [(each["vrrp_state"], each["phase"], each["alone_since"] is None) for each in seen]

        serves, can = ("MASTER", "active", True), ("BACKUP", "standby", True)
        found = self.lab.wait_for(
            "one node serves, and the others can",
            looked,
            until=lambda seen: seen.count(serves) == 1 and seen.count(can) == len(NODES) - 1,
            within=_SECONDS,
        )
        name = NODES[found.index(serves)]
        self.wait_until_only(name)
        return name

    def wait_until_only(self, *names: NodeName) -> None:
        """Wait until these serve and no other."""
        self.lab.wait_for(
            f"{names or 'nobody'} serves", self.samples.now, until=lambda now: now == set(names), within=_SECONDS
        )

    def wait_until_alone(self, *names: NodeName) -> None:
        """Wait until each of them has found that it is alone, and has stopped."""
        for name in names:
            self.lab.wait_for(
                f"{name} is alone and has stopped",
                partial(status_client.instance, self.lab.nodes[name]),
                until=lambda seen: seen["alone_since"] is not None and _rests(seen),
                within=_SECONDS,
            )

    def outlast(self, name: NodeName, witness: str, since: float) -> None:
        """Wait until the node, which asks the witness, has been without it for longer than the isolation takes."""
        enough = since + ISOLATION_SECONDS
        self.lab.wait_for(
            f"{name} has been without {witness} for long",
            lambda: status_client.status(self.lab.nodes[name])["quorum"]["witnesses"][witness],
            until=lambda vote: not vote["granted"] and monotonic(vote["asked"]) > enough,
            within=_SECONDS,
        )

    def wait_until_answers(self, name: NodeName, *witnesses: str) -> None:
        """Wait until the node, which asks these witnesses, has their answers."""
        self.lab.wait_for(
            f"{' and '.join(witnesses)} answers {name}",
            lambda: status_client.status(self.lab.nodes[name])["quorum"]["witnesses"],
            until=lambda votes: all(votes[each]["granted"] for each in witnesses),
            within=_SECONDS,
        )

    def wait_until_misses(self, name: NodeName, *witnesses: str) -> None:
        """Wait until the node has asked each of these witnesses, and none has answered."""
        self.lab.wait_for(
            f"{name} misses {' and '.join(witnesses)}",
            lambda: status_client.status(self.lab.nodes[name])["quorum"]["witnesses"],
            until=lambda votes: not any(votes[each]["granted"] for each in witnesses),
            within=_SECONDS,
        )

    def wait_for_lease(self, name: NodeName, witness: str, said: str, since: float = 0.0) -> float:
        """Wait until a question of the node after `since` was answered in these words, and return when it asked."""
        vote = self.lab.wait_for(
            f"{witness} tells {name}: {said}",
            lambda: status_client.instance(self.lab.nodes[name])["leases"].get(witness),
            until=lambda vote: vote is not None and vote["said"].startswith(said) and monotonic(vote["asked"]) > since,
            within=_SECONDS,
        )
        assert vote is not None
        return monotonic(vote["asked"])

    def serve_from(self, name: NodeName) -> None:
        """Have this node serve, by putting the others in standby where it does not yet."""
        self.start_witness()
        self.heal()
        if self.wait_until_well() != name:
            others = [each for each in NODES if each != name]
            for other in sorted(others, key=lambda each: each in self.samples.now()):
                self._stand_by(other)
            self.lab.wait_for_phase(name, "active")
            self.wait_until_only(name)
            for other in others:
                self.ask(other, "online")
            assert self.wait_until_well() == name
        self.wait_until_answers(name, *self._witnesses)

    def _stand_by(self, name: NodeName) -> None:
        """Put it in standby, as soon as another node says that it can take over."""

        def refusal() -> str:
            try:
                self.ask(name, "standby")
            except client.CtlError as error:
                return str(error)
            return ""

        self.lab.wait_for(f"{name} is put in standby", refusal, until=lambda text: not text, within=_SECONDS)

    @contextlib.contextmanager
    def in_standby(self, *names: NodeName) -> Iterator[None]:
        """In it, an operator keeps these nodes in standby."""
        for name in names:
            self.ask(name, "standby")
            self.lab.wait_for(
                f"{name} has left the election",
                partial(status_client.instance, self.lab.nodes[name]),
                until=lambda seen: seen["vrrp_state"] == "FAULT" and _rests(seen),
                within=_SECONDS,
            )
        try:
            yield
        finally:
            for name in names:
                self.ask(name, "online")

    def power_on(self, name: NodeName) -> None:
        """Switch on a node that is off, in its room, and wait until it has booted."""
        node = self.lab.nodes[name]
        node.launch(units.VRRP_TARGET)
        if name in _ROOM_B:
            wire.ip(f"link set {name} master room_b", netns=self._fabric)
        node.wait_until_booted()

    def ask(self, name: NodeName, verb: str) -> None:
        """Ask the node's failoverd for a verb that has an instance only."""
        params = {"instance": self.lab.profile.follows}
        client.ask(str(self.lab.nodes[name].path("/run/failoverd/control.sock")), verb, params)

    @contextlib.contextmanager
    def configured(self, config: str, *names: NodeName) -> Iterator[None]:
        """In it, failoverd on these nodes has `config` instead of CONFIG."""
        try:
            self._configure(config, *names)
            yield
        finally:
            self._configure(CONFIG, *names)

    def _configure(self, config: str, *names: NodeName) -> None:
        text = configs.failoverd(self.lab.profile) + config
        for name in names:
            node = self.lab.nodes[name]
            (node.disk / "etc/failoverd/failoverd.toml").write_text(text, encoding="utf-8")
            node.systemctl("reload", "failoverd.service")
        for name in names:
            self.lab.wait_for(
                f"failoverd on {name} has its new configuration",
                partial(status_client.status, self.lab.nodes[name]),
                until=lambda seen: (
                    all(f'"{each}"' in config for each in seen["quorum"]["witnesses"])
                    and (seen["quorum"]["need"] > 0) is (config == CONFIG)
                ),
                within=_SECONDS,
            )

    def stop_seconds(self, name: NodeName) -> float:
        """How long the last stop of the service took on that node, as failoverd tells it."""
        steps = [each for each in status_client.steps(self.lab.nodes[name]) if each["verb"] == "deactivate"]
        last = next(each for each in reversed(steps) if each["resource"] == "service")
        return monotonic(last["ended"]) - monotonic(last["started"])


def _rests(instance: dict[str, Any]) -> bool:
    return all(each["level"] == "standby" for each in instance["resources"].values())
