"""Three hypervisors with what is around them: upstream's bird, and a client that hears what guests tell.

`left`, `right` and `center` have Xen, DRBD, keepalived, bird, and failoverd from its package. They differ by their name
and addresses only, since all begin as one machine that was configured before (template.py).
"""

import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from failoverd.ctl import client
from tests.lab import wire
from tests.lab.profiles import HOSTING, UPSTREAM_ADDRESS
from tests.lab.upstream import Upstream
from tests.lab.waiting import wait_for

from . import evidence, hosting, template
from .hosting import INSTANCE, NODES
from .lab import VmLab
from .machine import Hardware, Machine
from .service import Service

#: Seconds for what takes a moment on a real machine: three emulated ones share what there is.
SOON = 240.0
_POLL = 0.3
_LISTENER = Path(__file__).with_name("listener.py")
_MEMORY = 1024
# What was said within this time counts as what is.
_RECENT_SECONDS = 10.0
_RECENT_BYTES = 100_000


class Hypervisor(Service):
    """One of the three."""

    poll = 1.0  # an emulated Domain-0 answers in the time that it needs for what is waited for

    @property
    def name(self) -> str:
        return self.machine.name

    def status(self) -> dict[str, Any]:
        """`failoverctl status --json`, at no cost to the machine."""
        return self._ask("status")

    def transitions(self) -> list[dict[str, Any]]:
        """`failoverctl history --json`, newest first."""
        return list(self._ask("history", n=1000)["transitions"])

    def resource(self, name: str) -> dict[str, Any]:
        """What `status` says of one resource."""
        return dict(self.instance()["resources"][name])

    def guests(self) -> set[str]:
        """Those that are here, as `xl list` says."""
        _, _domain_0, *lines = self.machine.run(["xl", "list"], within=SOON).stdout.splitlines()
        return {line.split()[0] for line in lines}

    def stop_keepalived(self) -> None:
        """Give mastership away, by hand."""
        self.machine.run(["systemctl", "stop", "keepalived.service"], within=SOON)

    def start_keepalived(self) -> None:
        self.machine.run(["systemctl", "start", "keepalived.service"], within=SOON)

    def last_steps(self) -> list[dict[str, Any]]:
        """The steps of the newest transition."""

        def newest() -> list[dict[str, Any]]:
            transition, *_ = self.transitions()
            return self.steps_of(transition["id"])

        return wait_for(f"{self.name} has its history at hand", newest, until=lambda _: True, within=SOON, poll=_POLL)

    def steps_of(self, transition: int) -> list[dict[str, Any]]:
        """The steps of one transition, in the order in which they ended."""
        return list(self._ask("transition", id=transition)["steps"])

    def reconfigure(self, text: str) -> None:
        """Have failoverd take another failoverd.toml, which is known to be right: `systemctl reload` would check it."""
        self.machine.write("/etc/failoverd/failoverd.toml", text)
        self.machine.run(["systemctl", "kill", "--kill-who=main", "--signal=HUP", "failoverd.service"], within=SOON)

    def configure_guest(self, guest: str, *words: str) -> None:
        """What its guest is told from its next start on (see site/guest-init)."""
        self.machine.write(f"/etc/xen/{guest}.cfg", hosting.domain(hosting.GUESTS[guest], *words))

    @contextmanager
    def wrapped(self, tool: str, scripts: Mapping[str, str]) -> Iterator[None]:
        """While it lasts, `tool` is a shell script instead where its words are among `scripts`; `$real` is the tool."""
        wrapper, real = f"/usr/local/sbin/{tool}", f"/usr/sbin/{tool}"
        cases = "\n".join(f'"{words}") {script} ;;' for words, script in scripts.items())
        text = f'#!/bin/sh\nreal={real}\ncase "$*" in\n{cases}\nesac\nexec "$real" "$@"\n'
        self.machine.write(wrapper, text, mode=0o755)
        try:
            yield
        finally:
            self.machine.run(["rm", wrapper])

    def _ask(self, verb: str, **params: Any) -> dict[str, Any]:
        try:
            return client.ask(str(self.machine.control), verb, params, deadline=20.0)
        except client.CtlError as error:  # also that its history could not be read in time
            raise ConnectionError(f"{self.name}: {error.error}") from error


class Hypervisors:
    """The laboratory. All is off on entry."""

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
        guests = self.guests
        with ExitStack() as stack:
            model = stack.enter_context(VmLab({"left": template.hardware(guests)}))
            model.boot()
            self.generation = template.configure(model.machines["left"], guests)
            model.machines["left"].shut_down()
            self._lab = stack.enter_context(VmLab({name: _hardware(name, model.machines["left"]) for name in NODES}))
            self.nodes = {name: Hypervisor(machine) for name, machine in self._lab.machines.items()}
            self._surround(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

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
        """Switch on those named, or all, and wait until they have booted."""
        chosen = [self.nodes[name].machine for name in names or NODES]
        for machine in chosen:
            machine.start()
        for machine in chosen:
            machine.wait_until_booted()

    def heard(self, since: float = 0.0) -> evidence.Evidence:
        """What was heard outside after `since` (seconds on CLOCK_MONOTONIC)."""
        return evidence.read(self.records, since)

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

    def promoting(self, guest: str) -> tuple[str, ...]:
        """drbdsetup's words that make the guest's disk Primary, as DRBD 8 and 9 want them."""
        return (f"primary {hosting.GUESTS[guest].minor}", f"primary {guest}")

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

    def _now(self) -> dict[str, evidence.Sample]:
        heard = evidence.read(self.records, time.monotonic() - _RECENT_SECONDS, _RECENT_BYTES)
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

    def begin(self, master: str | None = None) -> tuple[Hypervisor, Hypervisor]:
        """All on and well, and `master` is MASTER (None: left or right, whichever it is); returns it and its heir."""
        off = [name for name, node in self.nodes.items() if not node.machine.alive]
        if off:
            self.boot(*off)
        if master is None:
            master = "right" if self.vips() == ["right"] else "left"
        for node in self.nodes.values():
            if node.instance()["phase"] not in ("standby", "active") or node.instance()["released"]:
                node.machine.run(["failoverctl", "reset", INSTANCE], check=False)
        # One that is not needed would take its time, too, on a machine that is emulated.
        lacking = {name for name, node in self.nodes.items() if node.status()["keepalived"] != "running"}
        for name, node in self.nodes.items():
            if name != master and not (self.vips() == [master] and self.nodes[master].instance()["phase"] == "active"):
                node.stop_keepalived()
                lacking.add(name)
        if master in lacking:
            self.nodes[master].start_keepalived()
        self.wait_for_master(master)
        for name in lacking - {master}:
            self.nodes[name].start_keepalived()
        self.wait_until_replicated()
        self.wait("all guests tell numbers", self._guests_tell)
        return self.nodes[master], self.nodes["right" if master == "left" else "left"]

    def follow(self, guests: Collection[hosting.Guest]) -> None:
        """Have these guests follow the VIP, and no others; the MASTER can carry none of those."""
        self.guests = guests
        for node in self.nodes.values():
            node.reconfigure(hosting.failoverd(self.generation, guests))
        wait_for(
            "all nodes have these guests",
            lambda: {name: hosting.GUESTS.keys() & node.instance()["resources"] for name, node in self.nodes.items()},
            until=lambda seen: seen == {name: self._carried(name) for name in self.nodes},
            within=SOON,
            poll=1.0,
        )

    def hand_over(self, here: Hypervisor, there: Hypervisor) -> None:
        """By hand, from the MASTER to its heir, until all is well again."""
        here.stop_keepalived()
        self.wait_for_master(there.name)
        here.wait_for_phase("standby")
        here.start_keepalived()
        self.wait_until_replicated()

    def _carried(self, node: str) -> set[str]:
        """The guests that the node may have."""
        return {guest.name for guest in self.guests if node in guest.nodes[self.generation]}

    def _guests_tell(self) -> bool:
        told = evidence.read(self.records, time.monotonic() - _RECENT_SECONDS, _RECENT_BYTES).told
        guests = {guest for guests in self.domains().values() for guest in guests}
        return guests <= {each.guest for each in told if each.kind == "ack"}


def moment(iso: str) -> float:
    """A time that failoverd tells, as seconds since 1970."""
    return datetime.fromisoformat(iso).timestamp()


def _hardware(name: str, model: Machine) -> Hardware:
    return Hardware(
        networks=hosting.networks(name),
        disks=template.disks(hosting.GUESTS.values()),
        xen=True,
        memory=_MEMORY,
        like=model.directory,
    )
