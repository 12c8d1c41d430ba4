"""What the daemon's tests share."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator

import pytest

from failoverd.daemon import names
from tests.unit.daemon.keepaliveds import Fakes

_CLONE_NEWNET = 0x40000000


@pytest.fixture(autouse=True)
def nobody_is_known_yet() -> None:
    for directory in (names.user_name, names.user, names.group):
        directory._known.clear()


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    """Programs that are taken for keepalived."""
    made = Fakes()
    yield made
    made.close()


@pytest.fixture
def own_network() -> Iterator[None]:
    """This thread, and all that it starts, in a network namespace of its own; needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "a network namespace needs root")
        subprocess.run(["ip", "link", "add", "eth0", "type", "bridge"], check=True)
        subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
        yield
    finally:
        libc.setns(outside, _CLONE_NEWNET)
        os.close(outside)
