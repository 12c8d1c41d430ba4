"""A machine: a QEMU process, its disks, and a way in (door.py) that does not depend on the networks it is tested on.

What is on its disks survives a reboot and a power cut, for as long as the laboratory stands. One that runs can be kept
as it is, memory and all, and others begin in the middle of what it did: they do not see that time has passed. Their
clocks go on from there, and so does the clock of the board that they read at a boot.
"""

import contextlib
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import wire
from tests.lab.run import Run
from tests.lab.waiting import NotInTimeError, wait_for

from . import qemu, tsc
from .door import Door
from .monitor import Monitor

#: Seconds for a boot: an emulated machine on a busy host.
BOOT_SECONDS = 400.0
COMMAND_SECONDS = 60.0
_POLL_SECONDS = 0.25
_CONSOLE_LINES = 60
# What an emulated machine need not do.
_QUICK = (
    "mitigations=off",
    "audit=0",
    "apparmor=0",
    "cryptomgr.notests",
    "initcall_blacklist=init_kprobe_trace",
    "loglevel=4",
    "tsc=reliable",
    "no_timer_check",
)
# An emulator that keeps translated code by its address translates a program once, not at each start.
_SAME_ADDRESSES = "norandmaps"
# Each letter on the console of an emulated machine costs time: what fails is told.
_TERSE = "systemd.show_status=error"
_SYSTEM, _MEMORY, _MONITOR = "system", "memory", "monitor"
# QEMU's user network, by its own defaults.
_OWN_ADDRESS = "10.0.2.15/24"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a machine is made of. `networks`: each network with the address in it, for eth0, eth1 and so on."""

    networks: dict[str, str]
    memory: int = 1024
    """MiB."""
    processors: int = 1
    disks: dict[str, int] = field(default_factory=dict)
    """Empty disks by name, with their size in MiB: vdb, vdc and so on."""
    xen: bool = False
    watchdog: bool = False
    """A watchdog device, as a board has it: its driver is i6300esb."""
    like: Path | None = None
    """Where a machine was kept: the disks begin as that one's."""


class Machine:
    """One machine, off at first. `number` (from 1) tells it from the others of its laboratory."""

    def __init__(self, run: Run, name: str, number: int, hardware: Hardware, image: qemu.Image) -> None:
        self.name = name
        self._run = run
        self._number = number
        self._hardware = hardware
        self._image = image
        self.directory = run.work / name
        self._fabric = run.netns("fabric")
        self._process: subprocess.Popen[bytes] | None = None
        self._ssh_port = 2200 + number
        self._door = Door(run, self.directory, self._ssh_port, image.key)
        self._behind = 0.0
        """Seconds that its clock is behind this host's."""

    # Power

    @property
    def alive(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.poll() is None

    def make(self) -> None:
        """Make its disks and its cables."""
        self.directory.mkdir()
        like = self._hardware.like
        if like is None:
            qemu.make_overlay(self.directory / _SYSTEM, self._image.disk)
        else:
            qemu.make_overlay(self.directory / _SYSTEM, like / _SYSTEM, "qcow2")
        for name, megabytes in self._hardware.disks.items():
            if like is not None:
                shutil.copyfile(like / name, self.directory / name)
                continue
            with (self.directory / name).open("wb") as disk:
                disk.truncate(megabytes << 20)
        for port, network in self._ports.items():
            wire.ip(f"tuntap add dev {port} mode tap", f"link set {port} master {network} up", netns=self._fabric)

    def start(self, *more: str) -> None:
        """Switch it on, and return at once; `more` are options of QEMU."""
        if self.alive:
            raise RuntimeError(f"{self.name} is on already")
        hardware = self._hardware
        addresses = [*hardware.networks.values(), _OWN_ADDRESS]
        words = [
            "root=/dev/vda",
            "rw",
            "net.ifnames=0",
            "panic=-1",
            *_QUICK,
            _SAME_ADDRESSES,
            _TERSE,
            f"systemd.hostname={self.name}",
            *([f"tsc_early_khz={frequency}"] if (frequency := tsc.kilohertz()) else []),
        ]
        words += [f"vmlab.eth{index}={address}" for index, address in enumerate(addresses)]
        argv = ["qemu-system-x86_64", *qemu.accelerator(self._image), "-nodefaults", "-no-user-config"]
        argv += ["-display", "none", "-m", str(hardware.memory), "-smp", str(hardware.processors)]
        argv += self._image.boot(" ".join(words), xen=hardware.xen)
        argv += qemu.drives(self.directory / _SYSTEM, [self.directory / name for name in hardware.disks])
        if hardware.watchdog:
            argv += ["-device", "i6300esb", "-action", "watchdog=reset"]
        argv += ["-device", "virtio-rng-pci", *qemu.clock(time.time() - self._behind), *more]
        argv += ["-qmp", f"unix:{self.directory / _MONITOR},server=on,wait=off"]
        argv += ["-chardev", f"file,id=console,append=on,path={self._console}", "-serial", "chardev:console"]
        for index, port in enumerate(self._ports):
            argv += ["-netdev", f"tap,id=net{index},ifname={port},script=no,downscript=no"]
            argv += ["-device", f"virtio-net-pci,netdev=net{index},mac=02:00:00:00:{index:02x}:{self._number:02x}"]
        argv += ["-netdev", f"user,id=own,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:{self._ssh_port}-:22"]
        argv += ["-device", "virtio-net-pci,netdev=own"]
        with (self.directory / "qemu").open("ab") as said:
            self._process = subprocess.Popen(
                self._run.in_cgroup(wire.in_netns(self._fabric, argv)),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait_until_entered(self) -> None:
        """Wait until it lets commands in."""

        def enter() -> bool:
            if not self.alive:
                raise RuntimeError(f"{self.name} is off:\n{self.console()}")
            self._door.knock()
            return self._door.open

        wait_for(f"{self.name} lets us in", enter, within=BOOT_SECONDS, poll=_POLL_SECONDS)

    def wait_until_booted(self) -> None:
        """Wait until it lets commands in and has started all that it wants."""
        try:
            self.wait_until_entered()
            # `degraded` is an end of the boot as well.
            self.run(["systemctl", "is-system-running", "--wait"], check=False, within=BOOT_SECONDS)
        except (NotInTimeError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{self.name} did not boot within {BOOT_SECONDS:g} s:\n{self.console()}") from error

    def reboot(self) -> None:
        """`systemctl reboot`, and wait until it has booted again."""
        before = self.boot_id()
        self.run(["systemctl", "reboot"], check=False)
        self.wait_until_rebooted(before)

    def wait_until_rebooted(self, before: str) -> None:
        """Wait until it is down, and has booted again. `before`: its boot until then."""
        wait_for(f"{self.name} is down", lambda: not self._door.open, within=BOOT_SECONDS, poll=_POLL_SECONDS)
        self.wait_until_booted()
        if self.boot_id() == before:
            raise RuntimeError(f"{self.name} did not reboot:\n{self.console()}")

    def monitor(self) -> Monitor:
        """Its monitor, for one at a time."""
        return Monitor(self.directory / _MONITOR)

    def shut_down(self) -> None:
        """`systemctl poweroff`, and wait until it is off."""
        self.run(["systemctl", "poweroff"], check=False)
        wait_for(f"{self.name} is off", lambda: not self.alive, within=BOOT_SECONDS, poll=_POLL_SECONDS)
        self.cut_power()

    def cut_power(self) -> None:
        """Take the power away, in the middle of whatever it does."""
        self._door.shut()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    # Kept, and begun again

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does; nothing in it sees that. The way in is closed."""
        self._door.shut()
        with self.monitor() as monitor:
            monitor.ask("stop")

    def keep(self, directory: Path) -> None:
        """Make `directory`, in which all is that a machine needs that begins like this one, which is off or frozen."""
        directory.mkdir(parents=True)
        if self.alive:
            with self.monitor() as monitor:
                monitor.save(directory / _MEMORY)
        for name in (_SYSTEM, *self._hardware.disks):
            shutil.copyfile(self.directory / name, directory / name)

    def load(self) -> None:
        """Switch it on as the one that was kept, frozen as that was."""
        assert self._hardware.like is not None
        memory = self._hardware.like / _MEMORY
        self._behind = time.time() - memory.stat().st_mtime
        self.start("-incoming", f"exec:cat {memory}", "-S")
        with self.monitor() as monitor:
            monitor.wait_until_loaded()

    def thaw(self) -> None:
        """Let it go on."""
        with self.monitor() as monitor:
            monitor.ask("cont")

    # Cables

    @property
    def _ports(self) -> dict[str, str]:
        """Each port of the fabric that leads here, with its network."""
        return {f"{self.name}-{index}": network for index, network in enumerate(self._hardware.networks)}

    def unplug(self, network: str) -> None:
        """Cut it off from `network`: every frame is lost, yet its link stays up, as behind a switch."""
        wire.ip(f"link set {self._port(network)} nomaster", netns=self._fabric)

    def plug(self, network: str) -> None:
        """Undo `unplug`."""
        wire.ip(f"link set {self._port(network)} master {network}", netns=self._fabric)

    def _port(self, network: str) -> str:
        return f"{self.name}-{list(self._hardware.networks).index(network)}"

    # The way in

    def run(
        self, argv: Sequence[str], *, check: bool = True, within: float = COMMAND_SECONDS, given: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root and capture what it prints; `given` is its input, `within` seconds."""
        ssh = self._door.argv(shlex.join(argv))
        done = subprocess.run(ssh, input=given or b"", capture_output=True, check=False, timeout=within)
        said, complained = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            raise CommandError(f"{self.name}: {shlex.join(argv)}: exit {done.returncode}\n{said}{complained}")
        return subprocess.CompletedProcess(list(argv), done.returncode, said, complained)

    def sh(self, script: str, *, check: bool = True, within: float = COMMAND_SECONDS) -> str:
        """Run a shell script, and return what it printed."""
        return self.run(["sh", "-c", script], check=check, within=within).stdout

    def write(self, path: str, text: str | bytes, *, mode: int = 0o644) -> None:
        """Write a file, with the directories that lead to it."""
        script = 'mkdir -p "$(dirname "$0")" && cat >"$0.new" && chmod "$1" "$0.new" && mv "$0.new" "$0"'
        given = text.encode() if isinstance(text, str) else text
        self.run(["sh", "-c", script, path, f"{mode:o}"], given=given)

    def read(self, path: str) -> str:
        """A file's text."""
        return self.run(["cat", path]).stdout

    def boot_id(self) -> str:
        """What tells this boot from every other."""
        return self.read("/proc/sys/kernel/random/boot_id").strip()

    @property
    def _console(self) -> Path:
        return self.directory / "console"

    def console(self) -> str:
        """The end of what it has said on its console, and QEMU beside it."""
        said = ""
        for path in (self.directory / "qemu", self._console):
            with contextlib.suppress(FileNotFoundError):
                said += path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(said.splitlines()[-_CONSOLE_LINES:])

    @property
    def control(self) -> Path:
        """failoverd's control socket, as it is reached from here, at no cost to the machine."""
        return self._door.control


class CommandError(subprocess.SubprocessError):
    """A command in a machine failed; the text has what it printed."""
