"""A machine: a QEMU process, its disks, and a way in that does not depend on the networks it is tested on.

What is on its disks survives a reboot and a power cut, for as long as the laboratory stands. Commands go by ssh
through a network card of their own, which QEMU itself connects; so a machine whose cables are cut can be asked still.
"""

import contextlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import wire
from tests.lab.run import Run
from tests.lab.waiting import NotInTimeError, wait_for

from . import qemu, tsc

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
# The socket of the connection that all commands share, and failoverd's, as it is reached through that.
_DOOR, _CONTROL = "door", "control"
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
    like: Path | None = None
    """The directory of a machine that is off, and stays so: the disks begin as that one's."""


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
        self._door: subprocess.Popen[bytes] | None = None

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
            qemu.make_overlay(self.directory / "system", self._image.disk)
        else:
            qemu.make_overlay(self.directory / "system", like / "system", "qcow2")
        for name, megabytes in self._hardware.disks.items():
            if like is not None:
                shutil.copyfile(like / name, self.directory / name)
                continue
            with (self.directory / name).open("wb") as disk:
                disk.truncate(megabytes << 20)
        for port, network in self._ports.items():
            wire.ip(f"tuntap add dev {port} mode tap", f"link set {port} master {network} up", netns=self._fabric)

    def start(self) -> None:
        """Switch it on, and return at once."""
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
        argv += qemu.drives(self.directory / "system", [self.directory / name for name in hardware.disks])
        argv += ["-device", "virtio-rng-pci"]
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

    def wait_until_booted(self) -> None:
        """Wait until it lets commands in and has started all that it wants."""
        try:
            wait_for(f"{self.name} lets us in", self._enter, within=BOOT_SECONDS, poll=_POLL_SECONDS)
            # `degraded` is an end of the boot as well.
            self.run(["systemctl", "is-system-running", "--wait"], check=False, within=BOOT_SECONDS)
        except (NotInTimeError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{self.name} did not boot within {BOOT_SECONDS:g} s:\n{self.console()}") from error

    def reboot(self) -> None:
        """`systemctl reboot`, and wait until it has booted again."""
        before = self.boot_id()
        self.run(["systemctl", "reboot"], check=False)
        wait_for(f"{self.name} is down", lambda: not self._inside(), within=BOOT_SECONDS, poll=_POLL_SECONDS)
        self.wait_until_booted()
        if self.boot_id() == before:
            raise RuntimeError(f"{self.name} did not reboot:\n{self.console()}")

    def shut_down(self) -> None:
        """`systemctl poweroff`, and wait until it is off."""
        self.run(["systemctl", "poweroff"], check=False)
        wait_for(f"{self.name} is off", lambda: not self.alive, within=BOOT_SECONDS, poll=_POLL_SECONDS)
        self.cut_power()

    def cut_power(self) -> None:
        """Take the power away, in the middle of whatever it does."""
        for process in (self._process, self._door):
            if process is not None:
                process.kill()
                process.wait()
        self._process = self._door = None

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
        ssh = [*self._ssh(), "--", "root@127.0.0.1", shlex.join(argv)]
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
    def _ssh_port(self) -> int:
        return 2200 + self._number

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "3",
            "ControlPath": str(self.directory / _DOOR),
            "IdentityFile": str(self._image.key),
            "LogLevel": "ERROR",
            "ServerAliveCountMax": "12",
            "ServerAliveInterval": "5",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return wire.in_netns(self._fabric, ["ssh", "-F", "none", "-p", str(self._ssh_port), *words])

    @property
    def control(self) -> Path:
        """failoverd's control socket, as it is reached from here, at no cost to the machine."""
        self._open()
        return self.directory / _CONTROL

    def _forwarding(self) -> list[str]:
        return ["-o", "StreamLocalBindUnlink=yes", "-L", f"{self.directory / _CONTROL}:/run/failoverd/control.sock"]

    def _enter(self) -> bool:
        """Open the connection that all commands share, or try to; True when it is there."""
        if not self.alive:
            raise RuntimeError(f"{self.name} is off:\n{self.console()}")
        self._open()
        return self._inside()

    def _open(self) -> None:
        if self._door is None or self._door.poll() is not None:
            # One that was killed leaves it behind, and the next would do without.
            (self.directory / _DOOR).unlink(missing_ok=True)
            self._door = subprocess.Popen(
                self._run.in_cgroup([*self._ssh(), *self._forwarding(), "-M", "-N", "root@127.0.0.1"]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _inside(self) -> bool:
        check = [*self._ssh(), "-O", "check", "root@127.0.0.1"]
        return subprocess.run(check, capture_output=True, check=False, timeout=COMMAND_SECONDS).returncode == 0


class CommandError(subprocess.SubprocessError):
    """A command in a machine failed; the text has what it printed."""
