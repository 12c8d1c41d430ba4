"""The port to a watchdog device, hardware or softdog: it resets the machine `timeout` seconds after the last feed.

An open device is armed, and stays so when it is closed, or its process dies, unless it was disarmed first. Its calls
may block, as those of a BMC do, and so they have a thread of their own. The same thread feeds it: a feed must wait for
no event loop, whose deadlines may be late, and for no room among other threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import queue
import stat
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from failoverd.ports.errors import DriverError, TimedOut

#: WDIOC_GETSUPPORT, WDIOC_SETTIMEOUT and WDIOC_GETTIMEOUT of linux/watchdog.h, on amd64 and arm64.
_GET_SUPPORT, _SET_TIMEOUT, _GET_TIMEOUT = 0x80285700, 0xC0045706, 0x80045707
#: struct watchdog_info: options, firmware version, identity. WDIOF_SETTIMEOUT and WDIOF_MAGICCLOSE.
_INFO = struct.Struct("=II32s")
_CAN_SET_TIMEOUT, _CAN_BE_DISARMED = 0x0080, 0x0100
_INT = struct.Struct("=i")

_FEED, _DISARM = b"\0", b"V"
#: How often it is fed within its timeout.
_FEEDS = 4

#: For an answer of the device.
_ANSWER_TIMEOUT_S = 5.0

#: The major and minor number of /dev/watchdog, which is the first of them.
_FIRST = os.makedev(10, 130)

_Result = TypeVar("_Result")


class HardwareWatchdog:
    """A watchdog, made by `armed`. `timeout`: seconds from a feed to the reset. `identity`: its driver's name for it.

    `failure`: why the last feed failed; empty: it did not.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._device = -1
        self._fed_until = 0.0
        self.timeout = 0
        self.identity = ""
        self.failure = ""

    def feed_until(self, until: float) -> None:
        """Feed it from now on, and no more after `until`, in seconds of time.monotonic().

        The reset follows `timeout` seconds later at the latest, unless a call of this moves the time.
        """
        self._fed_until = until
        self._calls.put((Future(), self._feed))

    async def disarm(self) -> None:
        """Stop the watchdog, and close it. DriverError: it remains armed, and will reset the machine."""
        self._fed_until = 0.0
        try:
            await self._call(_ANSWER_TIMEOUT_S, self._disarm)
        finally:
            self._calls.put(None)

    async def arm(self, timeout: int) -> None:
        """See `armed`."""
        try:
            threading.Thread(target=self._work, name="watchdog device", daemon=True).start()
        except RuntimeError as error:
            raise DriverError(f"{self._path}: {error}") from error
        try:
            await self._call(_ANSWER_TIMEOUT_S, partial(self._arm, timeout))
        except BaseException:
            # Also if the device answers later: nobody would feed it.
            self._calls.put((Future(), self._disarm_if_open))
            self._calls.put(None)
            raise

    async def _call(self, timeout: float, call: Callable[[], _Result]) -> _Result:
        """The result of a call in the thread. A call that has not begun when its time is over never will."""
        answer: Future[_Result] = Future()
        self._calls.put((answer, call))
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(answer)
        except TimeoutError as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise self._failed(error) from error
            raise TimedOut(f"{self._path} has not answered within {timeout:g} s") from error
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DriverError:
        match error.errno:
            case errno.EBUSY:
                reason = (
                    "another program has it open, and only one can: systemd (RuntimeWatchdogSec=), watchdog-mux, sbd"
                )
            case errno.ENOENT | errno.ENODEV | errno.ENXIO:
                reason = "there is no such watchdog; load its driver, or the kernel's own: `modprobe softdog`"
            case errno.ENOTTY:
                reason = "it is not a watchdog"
            case _:
                reason = error.strerror or str(error)
        return DriverError(f"{self._path}: {reason}")

    # ------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while True:
            try:
                each = self._calls.get(timeout=self._pause())
            except queue.Empty:
                self._feed()
                continue
            if each is None:
                return
            answer, call = each
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)

    def _pause(self) -> float | None:
        """Seconds to the next feed; None: no feed is due."""
        if self._device < 0 or time.monotonic() >= self._fed_until:
            return None
        return self.timeout / _FEEDS

    def _feed(self) -> None:
        if self._device < 0 or time.monotonic() >= self._fed_until:
            return
        try:
            self._write(_FEED)
            self.failure = ""
        except OSError as error:
            self.failure = self._failed(error).reason

    def _arm(self, timeout: int) -> None:
        self._device = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            options, _, identity = _INFO.unpack(fcntl.ioctl(self._device, _GET_SUPPORT, bytes(_INFO.size)))
        except OSError:  # it is no watchdog: write nothing into it
            os.close(self._device)
            self._device = -1
            raise
        self.identity = identity.partition(b"\0")[0].decode(errors="replace")
        if not options & _CAN_BE_DISARMED or shown(os.fstat(self._device).st_rdev).get("nowayout") == "1":
            reason = "it cannot be disarmed (nowayout), so that a stop of failoverd would reset the machine"
            raise OSError(errno.EOPNOTSUPP, reason)
        if options & _CAN_SET_TIMEOUT:
            fcntl.ioctl(self._device, _SET_TIMEOUT, _INT.pack(timeout))
        (self.timeout,) = _INT.unpack(fcntl.ioctl(self._device, _GET_TIMEOUT, bytes(_INT.size)))
        if self.timeout > timeout:
            raise OSError(errno.EINVAL, f"its shortest timeout is {self.timeout} s, and not {timeout} s")

    def _write(self, data: bytes) -> None:
        os.write(self._device, data)

    def _disarm(self) -> None:
        self._write(_DISARM)
        os.close(self._device)
        self._device = -1

    def _disarm_if_open(self) -> None:
        if self._device >= 0:
            self._disarm()


def shown(number: int, sysfs: Path = Path("/sys")) -> dict[str, str]:
    """What the kernel shows of the device with that number, `identity` and `nowayout`; empty where it shows nothing."""
    name = f"{os.major(number)}:{os.minor(number)}"
    directory = sysfs / "class/watchdog/watchdog0" if number == _FIRST else sysfs / "dev/char" / name
    found = {}
    for key in ("identity", "nowayout"):
        with contextlib.suppress(OSError):
            found[key] = (directory / key).read_text(encoding="utf-8", errors="replace").strip()
    return found


def problem(path: str) -> str | None:
    """Why the file `path` is no watchdog; None: it may be one, or is not there yet. It may wait for a disk."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:  # a driver may make it later
        return None
    if stat.S_ISCHR(mode):
        return None
    return f"{path} is not a character device; expected a watchdog device, as listed by: ls -l /dev/watchdog*"


async def armed(path: str, timeout: int) -> HardwareWatchdog:
    """Open the device at `path`, which arms it, and set its timeout, seconds; it may round to fewer.

    Raises DriverError, and the device is disarmed again: it is missing, in use, cannot be disarmed, or has a longer
    timeout.
    """
    made = HardwareWatchdog(path)
    await made.arm(timeout)
    return made
