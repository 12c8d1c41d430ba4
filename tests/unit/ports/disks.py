"""A disk that hangs: a file system in user space that has one executable file, and answers when it is told to.

It serves in a process of its own, so that it can answer whatever becomes of who uses it, and ends by itself.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds after which it is gone, whatever happens.
_LIFE = 60

_MNT_FORCE, _MNT_DETACH = 1, 2
_DIRECTORY, _FILE = 1, 2  # the numbers of its two nodes

_LOOKUP, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH, _INIT = 1, 3, 14, 15, 18, 25, 26
_NOT_ASKED = frozenset({2, 36, 42})  # to forget, to interrupt, to forget many
_NOT_HERE = 38  # ENOSYS


class Disk:
    """Mounted at `path`; `tool` is a script on it."""

    def __init__(self, path: Path, server: subprocess.Popen[bytes]) -> None:
        self.tool = path / "tool"
        self.server = server.pid
        self._server = server

    def asked(self) -> None:
        """Wait until somebody waits for its first answer, and cannot be killed any more."""
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"asked\n"

    def answer(self) -> None:
        """It answers what was asked, and from now on."""
        assert self._server.stdin is not None
        self._server.stdin.write(b"answer\n")
        self._server.stdin.flush()


@contextmanager
def hanging(path: Path, script: str) -> Iterator[Disk]:
    """A disk at `path` that takes all questions and answers none, so that who asks waits in D state.

    Skips the test where no disk can be mounted.
    """
    import pytest  # the process that serves has no need of it

    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("needs root and a kernel with FUSE")
    path.mkdir()
    argv = [sys.executable, __file__, str(path), script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield Disk(path, server)
        finally:
            server.kill()
            ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_DETACH)


def _serve(path: str, script: bytes) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hanging", path.encode(), b"fuse.hanging", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    print("ready", flush=True)
    held: list[bytes] | None = []
    while True:
        readable, _, _ = select.select([device, 0], [], [], _LIFE)
        if not readable or (0 in readable and not os.read(0, 100)):
            return
        if 0 in readable and held is not None:
            for request in held:
                _answer(device, request, script)
            held = None
        if device in readable:
            request = os.read(device, 1 << 20)
            if held is None or struct.unpack_from("I", request, 4)[0] == _INIT:
                _answer(device, request, script)
            else:
                held.append(request)
                if len(held) == 1:
                    print("asked", flush=True)


def _answer(device: int, request: bytes, script: bytes) -> None:
    _, what, unique, node = struct.unpack_from("IIQQ", request)
    if what in _NOT_ASKED:
        return
    directory = struct.pack("QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 512, 0)
    file = struct.pack("QQQQQQIIIIIIIIII", 2, len(script), 1, 0, 0, 0, 0, 0, 0, 0o100755, 1, 0, 0, 0, 512, 0)
    answers = {
        _INIT: struct.pack("IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0),
        _LOOKUP: struct.pack("QQQQII", _FILE, 0, 0, 0, 0, 0) + file,
        _GETATTR: struct.pack("QII", 0, 0, 0) + (directory if node == _DIRECTORY else file),
        _OPEN: struct.pack("QII", 0, 0, 0),
        _RELEASE: b"",
        _FLUSH: b"",
    }
    if what == _READ:
        _, offset, size = struct.unpack_from("QQI", request, 40)
        answers[_READ] = script[offset : offset + size]
    body, error = (answers[what], 0) if what in answers else (b"", -_NOT_HERE)
    os.write(device, struct.pack("IiQ", 16 + len(body), error, unique) + body)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2].encode())
