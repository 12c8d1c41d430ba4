"""Three hypervisors with what is around them: upstream's bird, and a client that hears what guests tell.

`left`, `right` and `center` have Xen, DRBD, keepalived, bird, and failoverd from its package. They differ by their name
and addresses only, since all begin as one machine that was configured before (template.py). A boot of all three takes
minutes; so they are kept (kept.py) as they serve, once with `left` as MASTER and once with `right`, and most stories
begin in the middle of that.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import wire
from tests.lab.profiles import ACTIVE_METRIC, HOSTING, STANDBY_METRIC, UPSTREAM_ADDRESS
from tests.lab.upstream import Upstream
from tests.lab.waiting import wait_for

from . import consistency, hosting, kept, template
from .hosting import NODES
from .hypervisor import SOON, Hypervisor, moment
from .lab import VmLab
from .machine import BOOT_SECONDS, Hardware

_POLL = 0.3
_LISTENER = Path(__file__).with_name("listener.py")
_MEMORY = 1024
# What was said within this time counts as what is.
_RECENT_SECONDS = 10.0
_RECENT_BYTES = 100_000


class Hypervisors:
    """The laboratory, empty on entry: a story either boots it (`boot`) or begins where all is well (`begin`)."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.nodes: dict[str, Hypervisor] = {}
        self.generation = 8
        """Of DRBD."""
        self.guests: Collection[hosting.Guest] = tuple(hosting.GUESTS.values())
        """Those that follow the VIP."""
        self.judged_since = 0.0
        """What was lost before was given up by an operator's word (seconds on CLOCK_MONOTONIC)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def _make(self, like: Mapping[str, Path]) -> None:
        """Make the machines, which begin as others were kept, with all that is around them."""
        with ExitStack() as stack:
            self._lab = stack.enter_context(VmLab({name: _hardware(name, like[name]) for name in NODES}))
            self.nodes = {name: Hypervisor(machine) for name, machine in self._lab.machines.items()}
            self._surround(stack)
            self._stack = stack.pop_all()

    def _surround(self, stack: ExitStack) -> None:
        run = self._lab.run
        self._lab.add_namespace("upstream", {"service": f"{UPSTREAM_ADDRESS}/24"})
        self._lab.add_namespace("client", {"service": f"{hosting.CLIENT}/24"})
        self.upstream = Upstream(run, HOSTING)
        stack.callback(self.upstream.stop)
        self.upstream.start()
        self.records = run.work / "records"
        self.records.touch()
        argv = [sys.executable, "-I", "-S", str(_LISTENER), str(self.records), str(hosting.CLIENT_PORT)]
        listener = subprocess.Popen(
            run.in_cgroup(wire.in_netns(run.netns("client"), argv)), stdin=subprocess.DEVNULL, start_new_session=True
        )
        stack.callback(listener.wait)
        stack.callback(listener.kill)

    def boot(self, *names: str) -> None:
        """Switch on those named, or all, and wait until failoverd runs there; more may wait for a node that is off."""
        fresh = not self.nodes
        if fresh:
            model, self.generation = template.made(self.guests)
            self._make(dict.fromkeys(NODES, model))
        chosen = [self.nodes[name] for name in names or NODES]
        for node in chosen:
            node.machine.start()
        for node in chosen:
            node.machine.wait_until_entered()
        if fresh and self.generation == 9:
            template.make_disks({node.name: node.machine for node in chosen}, self.guests)
        for node in chosen:
            wait_for(f"{node.name}: failoverd answers", node.status, within=BOOT_SECONDS, poll=node.poll)

    def heard(self, since: float = 0.0) -> consistency.Evidence:
        """What was heard outside after `since` (seconds on CLOCK_MONOTONIC)."""
        return consistency.read(self.records, since)

    def wait(self, what: str, seen: Callable[[], object], within: float = SOON) -> None:
        """Wait until `seen` returns something true."""
        wait_for(what, seen, within=within, poll=_POLL)

    def wait_for_metrics(self, expected: dict[str, int]) -> None:
        """Wait until upstream has these routes to the prefix and no other."""
        wait_for(
            f"upstream's metrics are {expected}",
            lambda: self.upstream.route_metrics(hosting.PREFIX),
            until=lambda found: {str(node): metric for node, metric in found.items()} == expected,
            within=SOON,
            poll=_POLL,
        )

    def wait_for_start(self, guest: str, since: float) -> None:
        """Wait until the guest has started after `since` (seconds on CLOCK_MONOTONIC), and told a number since then."""

        def goes_on() -> bool:
            heard = self.heard(since)
            lives = {told.life for told in heard.lives(guest)}
            return any(told.kind == "ack" and told.life in lives for told in heard.told if told.guest == guest)

        self.wait(f"{guest} has started and tells numbers", goes_on)

    def story_of(self, heir: str, began: float, guest: str) -> str:
        """What happened after `began` (seconds on CLOCK_MONOTONIC) on the node that took over, and when."""
        heard = self.heard(began)
        moments = [(sample.at, f"the VIP is on {heir}") for sample in heard.of(heir) if sample.vip][:1]
        moments += [(told.at, f"{guest} has started") for told in heard.lives(guest)[:1]]
        lives = {told.life for told in heard.lives(guest)}
        numbers = [told for told in heard.told if told.kind == "ack" and told.life in lives]
        moments += [(told.at, f"{guest} tells its first number, {told.number}") for told in numbers[:1]]
        lines = [f"{at - began:7.2f} s  {what}" for at, what in moments]
        for step in self.nodes[heir].last_steps():
            took = moment(step["ended"]) - moment(step["started"])
            lines.append(f"{took:7.2f} s  for: {step['verb']} {step['resource']}: {step['outcome']}")
        return "\n".join(lines)

    # Where things are, as it was last heard

    def domains(self) -> dict[str, tuple[str, ...]]:
        """The guests on each node that has spoken within the last seconds."""
        return {name: sample.domains for name, sample in self._now().items()}

    def vips(self) -> list[str]:
        """The nodes that have the VIP."""
        return [name for name, sample in self._now().items() if sample.vip]

    def devices(self, node: str) -> dict[str, list[str]]:
        """The node's DRBD devices by minor: connection, role, disk state."""
        sample = self._now().get(node)
        return sample.devices if sample is not None else {}

    def _now(self) -> dict[str, consistency.Sample]:
        heard = consistency.read(self.records, time.monotonic() - _RECENT_SECONDS, _RECENT_BYTES)
        on = [name for name, node in self.nodes.items() if node.machine.alive]
        return {name: sample for name in on if (sample := heard.last(name)) is not None}

    # Where a story begins

    def wait_for_master(self, name: str, within: float = SOON) -> None:
        """Wait until `name` has the VIP and all that it can carry, and nobody else anything."""
        expected = self._carried(name)

        def there() -> bool:
            domains = self.domains()
            others = {guest for other, guests in domains.items() if other != name for guest in guests}
            return set(domains.get(name, ())) == expected and not others and self.vips() == [name]

        self.wait(f"{name} has all that it can carry, alone", there, within)
        self.nodes[name].wait_for_phase("active")
        assert self.nodes[name].guests() == expected

    def wait_until_replicated(self) -> None:
        """Wait until each device that is up is connected, and its data is that of the Primary."""

        def replicated() -> bool:
            return all(
                set(device[0].split(",")) == {"Connected"} and device[2] == "UpToDate"
                for name, node in self.nodes.items()
                if node.machine.alive
                for device in self.devices(name).values() or [["", "", ""]]
            )

        self.wait("all disks are replicated", replicated)

    def begin(self, master: str = "left") -> tuple[Hypervisor, Hypervisor]:
        """All on and well, `master` is MASTER, left or right; returns it and its heir."""
        place = _serving(master)
        with self.alone():
            if not place.is_dir():
                with Hypervisors() as others:
                    others.boot()
                    others.keep()
        _, self.generation = template.made(self.guests)
        self._make({name: place / name for name in NODES})
        machines = [node.machine for node in self.nodes.values()]
        for machine in machines:
            machine.load()
        for machine in machines:
            machine.thaw()
        for machine in machines:
            machine.wait_until_entered()
        self.wait_until_well(master)
        return self.nodes[master], self.nodes["right" if master == "left" else "left"]

    @staticmethod
    def alone() -> AbstractContextManager[None]:
        """While it lasts, nobody else boots all of them to keep them."""
        return kept.alone("serving")

    def keep(self) -> None:
        """Keep all as it is while left is MASTER, and while right is, for stories to begin, if that is not kept yet."""
        if _serving("left").is_dir() and _serving("right").is_dir():
            return
        self.wait("somebody has the VIP", self.vips)
        (master,) = self.vips()
        self.wait_for_master(master)
        if master == "center":  # it was the first to boot
            master = self.hand_over(self.nodes[master], self.nodes["left"], self.nodes["right"])
        heir = "right" if master == "left" else "left"
        self._keep(master)
        self.hand_over(self.nodes[master], self.nodes[heir])
        self._keep(heir)

    def _keep(self, master: str) -> None:
        self.wait_until_well(master)
        machines = {name: node.machine for name, node in self.nodes.items()}
        if _serving(master).is_dir():
            return
        # What one sends that is stopped a moment later is lost to those that are, as any packet may be.
        for machine in machines.values():
            machine.freeze()
        with kept.new(_serving(master)) as place:
            for name, machine in machines.items():
                machine.keep(place / name)
        for machine in machines.values():
            machine.thaw()
        for machine in machines.values():
            machine.wait_until_entered()

    def wait_until_well(self, master: str) -> None:
        """Wait until `master` has all, the others compete with it, and each guest is replicated and tells numbers."""
        self.wait_for_master(master)
        for name in self.nodes.keys() - {master}:
            self.nodes[name].wait_for_phase("standby")
        self.wait_until_replicated()
        self.wait_for_metrics({name: ACTIVE_METRIC if name == master else STANDBY_METRIC for name in NODES})
        self.wait("all guests tell numbers", self.guests_tell)

    def follow(self, guests: Collection[hosting.Guest], text: str = "") -> None:
        """Have these guests follow the VIP, and no others; the MASTER can carry none of those.

        `text`: failoverd.toml, if it is not as usual.
        """
        self.guests = guests
        for node in self.nodes.values():
            node.reconfigure(text or hosting.failoverd(self.generation, guests))
        wait_for(
            "all nodes have these guests",
            lambda: {name: hosting.GUESTS.keys() & node.instance()["resources"] for name, node in self.nodes.items()},
            until=lambda seen: seen == {name: self._carried(name) for name in self.nodes},
            within=SOON,
            poll=1.0,
        )

    def ask_a_witness(self, master: str, timeout: str, /, **keys: str) -> None:
        """Have all nodes need a lease of an etcd that the client has, and `master` hold it.

        `timeout`: that of an activation; `keys`: those of [quorum], as TOML.
        """
        run = self._lab.run
        url = f"http://{hosting.CLIENT}:2379"
        argv = ["etcd", "--name", "witness", "--data-dir", str(run.work / "etcd"), "--log-level", "error"]
        argv += ["--listen-client-urls", url, "--advertise-client-urls", url]
        argv += [
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:2380",
        ]
        argv += ["--initial-cluster", "witness=http://127.0.0.1:2380"]
        etcd = subprocess.Popen(
            run.in_cgroup(wire.in_netns(run.netns("client"), argv)), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._stack.callback(etcd.wait)
        self._stack.callback(etcd.kill)
        ready = ["python3", "-c", f"import socket; socket.create_connection(('{hosting.CLIENT}', 2379), 5)"]
        argv = wire.in_netns(run.netns("client"), ready)
        self.wait("etcd answers", lambda: subprocess.run(argv, check=False, capture_output=True).returncode == 0)
        keys = {"witnesses": f'["etcd://{hosting.CLIENT}:2379"]', **keys}
        quorum = "\n".join(f"{key} = {value}" for key, value in keys.items())
        for node in self.nodes.values():
            node.reconfigure(hosting.failoverd(self.generation, self.guests, timeout=timeout, quorum=quorum))
        wait_for(
            f"{master} holds the lease",
            lambda: {name for name, node in self.nodes.items() if node.instance()["standing"] == "present"},
            until=lambda seen: seen == {master},
            within=SOON,
            poll=1.0,
        )
        self.wait_until_well(master)

    def cut(self, name: str) -> float:
        """Cut a node off from all others, and return the moment (seconds on CLOCK_MONOTONIC)."""
        at = time.monotonic()
        for network in hosting.networks(name):
            self.nodes[name].machine.unplug(network)
        return at

    def heal(self, name: str) -> None:
        """Undo `cut`."""
        for network in hosting.networks(name):
            self.nodes[name].machine.plug(network)

    def lift_quorum(self, guest: str) -> None:
        """Let DRBD 9 go on with the guest's disk on one node of three, as 8 does on one of two."""
        if self.generation == 9:
            for node in self.nodes.values():
                resource = hosting.drbd(hosting.GUESTS[guest], 9, quorum=False)
                node.machine.write(f"/etc/drbd.d/{guest}.res", resource)
                node.machine.run(["drbdadm", "adjust", guest], within=SOON)

    def hand_over(self, here: Hypervisor, *heirs: Hypervisor) -> str:
        """By hand, from the MASTER to the heir that keepalived elects, until all is well again; returns its name."""
        here.stop_keepalived()
        (heir,) = wait_for(
            "an heir has the VIP",
            self.vips,
            until=lambda seen: seen in [[heir.name] for heir in heirs],
            within=SOON,
            poll=_POLL,
        )
        self.wait_for_master(heir)
        here.wait_for_phase("standby")
        here.start_keepalived()
        self.wait_until_replicated()
        return heir

    def _carried(self, node: str) -> set[str]:
        """The guests that the node may have."""
        return {guest.name for guest in self.guests if node in guest.nodes[self.generation]}

    def guests_tell(self) -> bool:
        """Whether each guest that runs has told a number within the last seconds."""
        told = consistency.read(self.records, time.monotonic() - _RECENT_SECONDS, _RECENT_BYTES).told
        guests = {guest for guests in self.domains().values() for guest in guests}
        return guests <= {each.guest for each in told if each.kind == "ack"}


def _serving(master: str) -> Path:
    return kept.place(f"{master}-serves")


def _hardware(name: str, like: Path) -> Hardware:
    return Hardware(
        networks=hosting.networks(name),
        disks=template.disks(hosting.GUESTS.values()),
        xen=True,
        memory=_MEMORY,
        watchdog=True,
        like=like,
    )
