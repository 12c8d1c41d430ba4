"""Another process with the same pid is never taken for the one that was meant."""

import os
import subprocess

from failoverd.osutil import pidfd


def fails() -> bool:
    raise FileNotFoundError("/proc/1/stat")


def test_what_is_not_meant_is_neither_held_nor_killed() -> None:
    with subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL) as process:
        for is_meant in (lambda: False, fails):
            assert pidfd.hold(process.pid, is_meant) is None
            pidfd.kill(process.pid, is_meant)
        held = pidfd.hold(process.pid, lambda: True)
        assert held is not None
        os.close(held)
        assert process.poll() is None
        pidfd.kill(process.pid, lambda: True)
        assert process.wait(60) == -9
    assert pidfd.hold(process.pid, lambda: True) is None
    assert pidfd.hold(2**40, lambda: True) is None
    pidfd.kill(process.pid, lambda: True)
