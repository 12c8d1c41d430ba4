"""A node: a systemd of its own in its own namespaces, which can lose its power, its cable, or nothing at all.

What is on its disk survives (configuration, /var/lib/failoverd); everything else is new at each start, the network
included: a VIP that keepalived left behind is gone when the machine was.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import configs, units, wire
from .profiles import (
    HOST_NUMBER,
    STANDBY_METRIC,
    UPSTREAM_ADDRESS,
    Agent,
    NodeName,
    Profile,
    Source,
    node_address,
    vlan_interface,
)
from .run import Run
from .waiting import wait_for

REPOSITORY = configs.REPOSITORY

_BOOT_SECONDS = 30.0
_COMMAND_SECONDS = 30.0
_INIT = Path(__file__).with_name("node_init.sh")
# keepalived 2.3 (Debian 13) does not start without this file of its package.
_KEEPALIVED_OPTIONS = Path("/etc/keepalived/keepalived.config-opts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is the same on every node of one laboratory."""

    profile: Profile
    agent: Agent
    sources: tuple[Source, ...]
    advert: float
    """advert_int in seconds."""
    track: bool = False
    """Whether keepalived is in FAULT when failoverd's track file says so."""
    extra_config: str = field(default="")
    """Appended to failoverd.toml."""


class Node:
    """One of left, right and center."""

    def __init__(self, run: Run, name: NodeName, settings: Settings) -> None:
        self.name = name
        self.address = node_address(name)
        self._run = run
        self._settings = settings
        self._directory = run.work / name
        self._netns = run.netns(name)
        self._fabric = run.netns("fabric")
        self._launcher: subprocess.Popen[bytes] | None = None
        self._systemd: int | None = None
        self._ready: socket.socket | None = None

    # The disk

    @property
    def disk(self) -> Path:
        """The node's disk as the laboratory sees it: `disk / "etc/bird/bird.conf"` may be read and written any time."""
        return self._directory / "disk"

    def make_disk(self) -> None:
        """Write everything that this node has installed and configured."""
        settings = self._settings
        for directory in ("root", "host"):
            (self._directory / directory).mkdir(parents=True)
        files = {
            "etc/keepalived/keepalived.conf": configs.keepalived(
                settings.profile,
                self.name,
                repository=REPOSITORY,
                agent=settings.agent,
                sources=settings.sources,
                advert=settings.advert,
                track=settings.track,
            ),
            "etc/keepalived/notify-script": configs.notify_script(settings.profile),
            "etc/bird/bird.conf": configs.node_bird(self.name),
            "etc/bird/envvars": "BIRD_RUN_USER=bird\nBIRD_RUN_GROUP=bird\n",
            "etc/bird/failoverd.conf": configs.metric(STANDBY_METRIC),
            "etc/frr/frr.conf": configs.frr(settings.profile, self.name),
            "etc/frr/daemons": configs.FRR_DAEMONS,
            "etc/frr/vtysh.conf": "service integrated-vtysh-config\n",
            "etc/failoverd/failoverd.toml": configs.failoverd(settings.profile) + settings.extra_config,
            "hostname": f"{self.name}\n",
            "machine-id": f"{uuid.uuid4().hex}\n",
        }
        for name, text in units.units(settings.profile, self.name, agent=settings.agent).items():
            files[f"etc/systemd/{name}"] = text
        for name, text in files.items():
            path = self.disk / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if _KEEPALIVED_OPTIONS.exists():
            shutil.copy(_KEEPALIVED_OPTIONS, self.disk / "etc/keepalived")
        (self.disk / "etc/keepalived/notify-script").chmod(0o755)
        (self.disk / "etc/systemd/system/systemd-journald-audit.socket").symlink_to("/dev/null")
        (self.disk / "var/lib/failoverd").mkdir(parents=True)
        owner = pwd.getpwnam("frr")
        for path in (self.disk / "etc/frr", *(self.disk / "etc/frr").iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        replaced = ["etc/keepalived", "etc/bird", "etc/frr", "etc/failoverd", "var/lib/failoverd"]
        replaced += ["etc/systemd/system", "etc/systemd/journald.conf.d"]
        (self.disk / "directories").write_text("\n".join(replaced) + "\n", encoding="utf-8")

    # Power

    @property
    def alive(self) -> bool:
        """Whether the node is powered."""
        return self._launcher is not None and self._launcher.poll() is None

    def start(self) -> None:
        """Power on; returns when systemd has started all that it wants, keepalived included."""
        self.launch(units.VRRP_TARGET)
        self.wait_until_booted()

    def launch(self, target: str) -> None:
        """Power on with a clean network, towards `target`, and return at once."""
        if self._launcher is not None:
            raise RuntimeError(f"{self.name} is on already")
        self._make_network()
        self._cgroup.mkdir(exist_ok=True)
        self._freeze(frozen=False)
        enter_cgroup = f'echo 0 >{self._cgroup}/cgroup.procs && exec unshare --cgroup "$@"'
        init = [_INIT, self.name, self._directory, self._run.work / "journal", target, *_read_only()]
        # Its clock of seconds since the boot starts at 0, since failoverd asks whether the machine has just booted.
        boot = f"--boottime={-int(time.clock_gettime(time.CLOCK_BOOTTIME))}"
        unshare = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--uts", "--ipc", "--time", boot]
        argv = wire.in_netns(self._netns, [*unshare, "sh", "-c", enter_cgroup, "sh", *map(str, init)])
        door = self._directory / "host/notify"
        door.unlink(missing_ok=True)
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ready.bind(str(door))
        with (self._directory / "console").open("ab") as console:
            self._launcher = subprocess.Popen(
                self._run.in_cgroup(argv),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def wait_until_booted(self) -> None:
        """Wait until systemd says that it is up (sd_notify(3), as it tells a container manager)."""
        launcher = self._launcher
        if launcher is None or self._ready is None:
            raise RuntimeError(f"{self.name} is off")
        with self._ready as ready:
            ready.settimeout(_BOOT_SECONDS)
            try:
                while b"READY=1" not in ready.recv(4096).splitlines():
                    pass
            except TimeoutError:
                console = (self._directory / "console").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{self.name} did not boot within {_BOOT_SECONDS:g} s:\n{console[-4000:]}") from None
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text(encoding="ascii")
        self._systemd = int(children.split()[0])

    def hang(self) -> float:
        """Stop every process in the middle of whatever it does, and return when that was so; the kernel goes on.

        It lasts until the node is killed and started again.
        """
        self._freeze(frozen=True)
        wait_for(
            f"{self.name} hangs",
            lambda: "frozen 1" in (self._cgroup / "cgroup.events").read_text(encoding="ascii"),
            within=_COMMAND_SECONDS,
        )
        return time.monotonic()

    def _freeze(self, *, frozen: bool) -> None:
        (self._cgroup / "cgroup.freeze").write_text(str(int(frozen)), encoding="ascii")

    @property
    def _cgroup(self) -> Path:
        return self._run.cgroup / self.name

    def kill(self) -> int:
        """Cut the power: the cable is dead and every process gone, with no last word to anyone.

        Returns the moment (CLOCK_MONOTONIC nanoseconds) at which nobody heard of the node any more.
        """
        self.unplug()
        cut = time.monotonic_ns()
        self.end()
        wire.ip(*(f"link set {port} down" for port in self._ports), netns=self._fabric)
        return cut

    def end(self) -> None:
        """End the node's processes, and forget them."""
        if self._launcher is None:
            return
        if self._systemd is not None and self._launcher.poll() is None:
            os.kill(self._systemd, signal.SIGKILL)
        else:
            self._launcher.kill()
        self._launcher.wait()
        self._launcher = self._systemd = None
        if self._ready is not None:
            self._ready.close()
            self._ready = None

    # The network

    @property
    def _interfaces(self) -> dict[str, str]:
        """Each interface with the bridge that it is plugged into."""
        vlans = self._settings.profile.vlans
        return {"eth0": "br0"} | {vlan_interface(vlan): f"br{vlan}" for vlan in vlans}

    @property
    def _ports(self) -> dict[str, str]:
        """Each port of the fabric that leads here, with its bridge."""
        return {interface.replace("eth0", self.name): bridge for interface, bridge in self._interfaces.items()}

    def _make_network(self) -> None:
        if Path(f"/run/netns/{self._netns}").exists():
            wire.ip(*(f"link delete {port}" for port in self._ports), netns=self._fabric)
            wire.remove_netns(self._netns)
        wire.make_netns(self._netns)
        host = HOST_NUMBER[self.name]
        outside, inside = [], []
        for number, (interface, (port, bridge)) in enumerate(zip(self._interfaces, self._ports.items(), strict=True)):
            peer = f"address 02:00:00:00:{number:02x}:{host:02x} netns {self._netns}"
            outside += [f"link add {port} type veth peer name {interface} {peer}"]
            outside += [f"link set {port} master {bridge} up"]
            inside += [f"link set {interface} up"]
        for prefix in self._settings.profile.prefixes if self._settings.profile.vlans else ():
            inside += [f"address add {_host_in(prefix, host)} dev eth0.{prefix.split('.')[1]}"]
        inside += [f"address add {self.address}/24 dev eth0", f"route add default via {UPSTREAM_ADDRESS}"]
        wire.ip(*outside, netns=self._fabric)
        wire.ip(*inside, netns=self._netns)

    def unplug(self) -> None:
        """Cut the node off: every frame from or to it is lost, yet its link stays up, as behind a switch."""
        wire.ip(*(f"link set {port} nomaster" for port in self._ports), netns=self._fabric)

    def plug(self) -> None:
        """Undo `unplug`."""
        wire.ip(*(f"link set {port} master {bridge}" for port, bridge in self._ports.items()), netns=self._fabric)

    def lose_multicast(self) -> None:
        """From now on no multicast reaches the node, and so no advert; ARP does."""
        wire.ip(*(f"link set {port} type bridge_slave mcast_flood off" for port in self._ports), netns=self._fabric)

    def has_vip(self, address: str) -> bool:
        """Whether the node has `address` (without prefix length) on any interface; a dead node has nothing."""
        if not self.alive:
            return False
        argv = ["ip", "-n", self._netns, "-oneline", "address", "show"]
        listing = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=_COMMAND_SECONDS).stdout
        return f" {address}/" in listing

    # Commands

    def run(
        self, argv: Sequence[str], *, check: bool = True, within: float = _COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the node, as root, and capture what it prints; `within` is seconds."""
        return subprocess.run(
            self.inside(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=within,
        )

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the node."""
        if self._systemd is None:
            raise RuntimeError(f"{self.name} is off")
        enter = ["nsenter", f"--target={self._systemd}", "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup"]
        return [*enter, "--time", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *argv]

    def path(self, absolute: str) -> Path:
        """A path of the node's, sockets included, as the laboratory reaches it while the node is on."""
        if self._systemd is None:
            raise RuntimeError(f"{self.name} is off")
        return Path(f"/proc/{self._systemd}/root{absolute}")

    def has_file(self, absolute: str) -> bool:
        """Whether there is such a file; a dead node has nothing. Any thread may ask."""
        systemd = self._systemd
        with contextlib.suppress(OSError):  # it is just dying
            return systemd is not None and Path(f"/proc/{systemd}/root{absolute}").exists()
        return False

    def systemctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl in the node."""
        return self.run(["systemctl", *words], check=check)

    def unit_state(self, unit: str) -> str:
        """The unit's ActiveState: `active`, `inactive`, `failed`, `activating`, `deactivating`."""
        return self.systemctl("show", "--property=ActiveState", "--value", unit).stdout.strip()

    def failoverctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run failoverctl in the node."""
        return self.run([str(units.failoverd_bin("failoverctl")), *words], check=check)

    def wait_for_vip(self, address: str, within: float) -> None:
        """Wait until the node has `address`; `within` is seconds."""
        wait_for(f"{self.name} has {address}", lambda: self.has_vip(address), within=within)


def _read_only() -> list[Path]:
    """The directories that a node runs the tested program from."""
    environment = Path(sys.prefix)
    if sys.prefix == sys.base_prefix or environment.is_relative_to(REPOSITORY):
        return [REPOSITORY]
    return [REPOSITORY, environment]


def _host_in(prefix: str, host: int) -> str:
    network, _, length = prefix.partition("/")
    return f"{network.rpartition('.')[0]}.{host}/{length}"
