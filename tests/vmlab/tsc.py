"""How fast this processor's time-stamp counter counts, which is what an emulated machine's counts like.

A kernel that boots finds that out by comparing it with another clock; on a busy host it finds it wrong by far, and its
clock runs many times too fast from then on. So it is told.
"""

import ctypes
import functools
import mmap
import platform
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
_READ = bytes.fromhex("0f31 48c1e220 4809d0 c3")
_SECONDS = 0.2
_TRIES = 5


@functools.cache
def kilohertz() -> int | None:
    """In 1,000 ticks a second; None on a processor that is not x86-64."""
    if platform.machine() != "x86_64":
        return None
    with mmap.mmap(-1, len(_READ), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        code.write(_READ)
        place = ctypes.c_char.from_buffer(code)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))
        began = _together(read)
        time.sleep(_SECONDS)
        ended = _together(read)
        del place
    return round((ended[0] - began[0]) * 1_000_000 / (ended[1] - began[1]))


def _together(read: "ctypes._FuncPointer") -> tuple[int, int]:
    """The counter and the clock (nanoseconds) at one moment: of some tries, that in which the least time passed."""

    def attempt() -> tuple[int, int, int]:
        before = time.monotonic_ns()
        ticks = int(read())
        after = time.monotonic_ns()
        return after - before, ticks, (before + after) // 2

    _, ticks, moment = min(attempt() for _ in range(_TRIES))
    return ticks, moment
