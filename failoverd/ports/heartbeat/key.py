"""The key that the nodes share, in a file that only root may read, or a credential of systemd."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from failoverd.ports.fence import credentials

#: A shorter key could be guessed. That of the command below has 44 characters.
MIN_BYTES = 32
_MAX_BYTES = 4096


class KeyUnusable(Exception):
    """There is no usable key. The text is one line for an operator, and ends with `remedy`, a command."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.remedy = remedy


def place(name: str) -> Path:
    """The file of `name`: an absolute path, or the name of one of systemd's credentials."""
    return Path(name) if name.startswith("/") else credentials.place(name)


def read(name: str) -> bytes:
    """The key in the file or credential `name`. It may wait for a disk. Raises KeyUnusable."""
    file = place(name)
    quoted = shlex.quote(str(file))
    stored = file if name.startswith("/") else credentials.STORE / name
    make = f"(umask 077; head -c 32 /dev/urandom | base64 > {shlex.quote(str(stored))})"
    if stored != file:
        make += " && systemctl restart failoverd"
    try:
        key = _content(file, quoted)
    except FileNotFoundError:
        if name.startswith("/"):
            raise KeyUnusable(f"the key {file} is missing; make one, and copy it to every node", make) from None
        raise KeyUnusable(
            f"the credential {name} is missing; expected {credentials.expected(name)}; then",
            "systemctl daemon-reload && systemctl restart failoverd",
        ) from None
    except OSError as error:
        raise KeyUnusable(f"the key {file} cannot be read ({error.strerror or error})", f"ls -l {quoted}") from error
    if len(key) < MIN_BYTES:
        text = f"the key {file} has {len(key)} bytes, and {MIN_BYTES} are needed; make one, and copy it to every node"
        raise KeyUnusable(text, make)
    return key


def problem(name: str) -> KeyUnusable | None:
    """Why there is no usable key in the file or credential `name`; None: there is one."""
    try:
        read(name)
    except KeyUnusable as error:
        return error
    return None


def _content(file: Path, quoted: str) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyUnusable(f"the key {file} is not a regular file", f"ls -l {quoted}")
        if status.st_mode & 0o077:
            raise KeyUnusable(f"others may use the key {file}; run", f"chmod 600 {quoted}")
        if status.st_uid not in (0, os.geteuid()):
            raise KeyUnusable(f"the key {file} belongs to another user; run", f"chown root: {quoted}")
        return opened.read(_MAX_BYTES).strip()
