"""QEMU's command line, and what it boots.

The machines' kernel is loaded by QEMU itself: no boot loader, and a reboot within the machine boots it again.
"""

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_HERE = Path(__file__).parent
_KVM = Path("/dev/kvm")

_BUILD_SECONDS = 1800.0
_PROBE_SECONDS = 5.0
_COMMAND_SECONDS = 30.0

# What /dev/kvm promises, not every host keeps: the kernel's first words are the proof.
_KERNEL_SPEAKS = b"Linux version"


@dataclass(frozen=True, slots=True)
class Image:
    """What `image.sh` made, in its directory."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The root file system that all machines start from; nobody writes to it."""
        return self.directory / "disk.img"

    @property
    def key(self) -> Path:
        """The key that machines let in as root."""
        return self.directory / "id_ed25519"

    def boot(self, kernel_words: str, *, xen: bool) -> list[str]:
        """The options that boot the kernel with `kernel_words` on its command line, under Xen or without."""
        initrd = str(self.directory / "initrd.img")
        if not xen:
            kernel = str(self.directory / "vmlinux")
            return ["-kernel", kernel, "-initrd", initrd, "-append", f"console=ttyS0 {kernel_words}"]
        modules = f"{self.directory / 'vmlinuz'} console=hvc0 {kernel_words},{initrd}"
        words = "console=com1 com1=115200 dom0_mem=512M"
        return ["-kernel", str(self.directory / "xen"), "-append", words, "-initrd", modules]


@functools.cache
def image() -> Image:
    """The image, built if it is not there yet."""
    script = _HERE / "image.sh"
    done = subprocess.run(["sh", script], capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"{script} failed:\n{done.stderr[-4000:]}")
    return Image(Path(done.stdout.splitlines()[-1]))


@functools.cache
def accelerator(of: Image) -> tuple[str, ...]:
    """The options for KVM if a kernel really boots with it, else those for emulation."""
    if _KVM.exists() and _boots_with_kvm(of):
        return ("-accel", "kvm", "-cpu", "host")
    # Xen's dom0 crashes on the emulated `max`.
    return ("-accel", "tcg,thread=multi", "-cpu", "qemu64")


def _boots_with_kvm(of: Image) -> bool:
    plain = ["-nodefaults", "-no-user-config", "-display", "none", "-m", "256", "-no-reboot", "-serial", "stdio"]
    boot = of.boot("panic=-1 rdinit=/nonexistent", xen=False)
    argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", *plain, *boot]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired as late:
        return _KERNEL_SPEAKS in (late.stdout or b"")
    return _KERNEL_SPEAKS in done.stdout


def make_overlay(path: Path, base: Path, kind: str = "raw") -> None:
    """Make a disk that begins as `base`, of this `kind`, and keeps what is written to it."""
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(base), str(path)]
    subprocess.run(argv, check=True, timeout=_COMMAND_SECONDS)


def clock(now: float) -> list[str]:
    """The options for the clock on the board: `now` in seconds since 1970; it stands while the machine is frozen."""
    base = datetime.fromtimestamp(now, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return ["-rtc", f"base={base},clock=vm"]


def drives(system: Path, data: Sequence[Path]) -> list[str]:
    """The options for the disks: vda, an overlay, then vdb and so on, raw.

    A power cut loses what the machine has not flushed, as it should; nothing that it has.
    """
    found = ["-drive", f"file={system},if=virtio,format=qcow2,cache=writeback"]
    for path in data:
        found += ["-drive", f"file={path},if=virtio,format=raw,cache=writeback"]
    return found
