"""A file system that is full, as /run can be; needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Bytes that all of it has.
SIZE = 1 << 20


@contextmanager
def tmpfs(at: Path) -> Iterator[Path]:
    """A small tmpfs at `at`, which is made if it is absent."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def fill(directory: Path) -> Path:
    """Leave no room in the file system of `directory`. The file that takes it, to be removed."""
    filler = directory / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


def read_only(at: Path, *, is_so: bool = True) -> None:
    """Have the file system at `at` refuse every change, or take them again."""
    subprocess.run(["mount", "-o", f"remount,{'ro' if is_so else 'rw'}", at], check=True)
