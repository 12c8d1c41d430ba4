"""Machines that were kept for others to begin like them, because a boot is what takes the time.

They lie below .cache, in a directory that is named after all that they come from, the package that is tested before
all: what has changed is never taken for what was there before it. Only one such directory is left there.
"""

import fcntl
import functools
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import qemu, service

_HERE = Path(__file__).parent
_PROFILES = _HERE.parent / "lab" / "profiles.py"
_PREFIX = "kept-"


def place(name: str) -> Path:
    """The directory of this name; it is there, and whole, or not there at all."""
    return _directory() / name


@contextmanager
def new(place: Path) -> Iterator[Path]:
    """Where to put what shall be in `place`; it is there when the block has ended well."""
    draft = place.with_name(f"{place.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    draft.rename(place)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """While it lasts, nobody else makes what is called so: stories may be told side by side."""
    with (qemu.image().directory / f"lock-{name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def _directory() -> Path:
    image = qemu.image()
    found = image.directory / f"{_PREFIX}{_key(image)}"
    for other in image.directory.glob(f"{_PREFIX}*"):
        if other != found:
            shutil.rmtree(other, ignore_errors=True)  # others may be about to, too
    return found


def _key(image: qemu.Image) -> str:
    """What they come from: the package, the laboratory, and the QEMU and the processor that run it, in this place."""
    sources = sorted(path for path in (*_HERE.glob("*.py"), *_HERE.glob("site/*")) if not path.name.startswith("test_"))
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, check=True, timeout=30).stdout
    found = hashlib.sha256()
    for path in (service.package(), _PROFILES, *sources):
        found.update(path.read_bytes())
    # An overlay knows the disk below it by its path; a machine that has begun knows how fast its processor counts.
    processor = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    found.update("\0".join([str(image.directory), processor, version.decode(), *qemu.accelerator(image)]).encode())
    return found.hexdigest()[:16]
