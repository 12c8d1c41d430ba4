"""A Debian of another release, or of this one, in a chroot with processes, mounts and a network of its own.

The base of each is made once and kept under ``.cache``, named after all that it is made from; what a test changes goes
into memory, over it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.lab.run import new_run
from tests.lab.waiting import wait_for

_SCRIPT = Path(__file__).parent / "chroot.sh"
_CACHE = Path(__file__).parents[2] / ".cache" / "chroots"
#: What a machine's first process does: every change goes into memory, and ends with it. It says its pid, then waits to
#: become systemd, which may never be asked of it.
_INIT = """
set -e
read -r pid _ </proc/self/stat
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkfifo dev/power
ip link add eth0 type veth peer name eth1
pivot_root . mnt
umount -l mnt
echo "$pid"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c 'read -r _ <dev/power; exec /lib/systemd/systemd >/dev/null 2>&1'
"""
#: Seconds for systemd, on a busy machine, to answer.
_BOOT_SECONDS = 60


def base(suite: str, packages: list[str], what_for: str = "package") -> Path:
    """The directory of a Debian `suite` with `packages`, made at the first call; one is kept for each `what_for`."""
    content = hashlib.sha256("\0".join([_SCRIPT.read_text(), *packages]).encode()).hexdigest()[:16]
    target = _CACHE / f"{what_for}-{suite}-{content}"
    if not target.exists():
        for outdated in _CACHE.glob(f"{what_for}-{suite}-*"):
            shutil.rmtree(outdated)
        subprocess.run(["sh", _SCRIPT, suite, target, *packages], check=True, timeout=600, stdin=subprocess.DEVNULL)
    return target


class Chroot:
    """A Debian in which commands run. `init`: the pid of its first process, with which all in it ends."""

    def __init__(self, init: int) -> None:
        self._root = Path(f"/proc/{init}/root")
        # --wdns: the other way to name a directory would leave the commands in one of this machine's.
        namespaces = "--mount --pid --net --ipc --uts --cgroup --root --wdns=/"
        clean = "env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive"
        self._enter = ["nsenter", f"--target={init}", *namespaces.split(), *clean.split()]

    def run(self, *argv: str) -> str:
        """The output of a command that exits 0; CalledProcessError with all that it said if it does not."""
        done = subprocess.run(
            [*self._enter, *argv],
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            failure = subprocess.CalledProcessError(done.returncode, argv, done.stdout)
            failure.add_note(done.stdout)
            raise failure
        return done.stdout

    @contextmanager
    def running(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """A program for as long as the block lasts; it has to end by itself when it gets SIGTERM."""
        with subprocess.Popen([*self._enter, *argv], stdin=subprocess.DEVNULL, text=True) as program:
            try:
                yield program
                for child in psutil.Process(program.pid).children():  # nsenter waits for what it has started
                    child.terminate()
                program.wait(timeout=30)
            finally:
                program.kill()

    def boot(self) -> None:
        """Become a machine that systemd runs; returns when it answers, and not when all is started."""
        self.path("/dev/power").write_text("on\n")
        wait_for("systemd answers", lambda: self.run("systemctl", "list-jobs"), within=_BOOT_SECONDS)

    def install(self, deb: Path) -> str:
        """What dpkg and the maintainer scripts print, when all goes well."""
        shutil.copy(deb, self.path("/root"))
        try:
            return self.run("dpkg", "--install", f"/root/{deb.name}")
        finally:
            self.path(f"/root/{deb.name}").unlink()

    def path(self, inside: str) -> Path:
        return self._root / inside.removeprefix("/")

    def files(self) -> set[str]:
        """Every path in it, but for those of devices and processes."""
        return set(self.run("find", "/", "-xdev", "-print").splitlines())


@contextmanager
def machine(lower: Path) -> Iterator[Chroot]:
    """A Debian that begins as `lower`, which stays as it is."""
    run = new_run()
    unshare = ["unshare", "--cgroup", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child=KILL"]
    try:
        run.make()
        argv = run.in_cgroup([*unshare, "sh", "-c", _INIT, str(lower)])
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
            try:
                assert holder.stdout is not None
                said = holder.stdout.readline()
                assert said, "the chroot's first process has ended; is this root?"
                yield Chroot(int(said))
            finally:
                holder.kill()
    finally:
        run.remove()
