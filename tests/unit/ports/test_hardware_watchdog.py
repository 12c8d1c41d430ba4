"""A watchdog device, played by a FIFO that takes what is written, and by a stand-in for its ioctls.

No real device is asked here: this needs a machine that may be reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from failoverd.ports import hardware_watchdog
from failoverd.ports.errors import DriverError, TimedOut

LONG = 20.0
SHORT = 0.2
_SUPPORT, _SET, _GET = 0x80285700, 0xC0045706, 0x80045707


class Device:
    """What is written to it, and its timeout; `options` as in struct watchdog_info."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.options = 0x8180
        self.timeout = 60
        self.least, self.most = 1, 600
        self.free = threading.Event()
        self.free.set()
        os.mkfifo(path)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def ioctl(self, descriptor: int, request: int, argument: bytes) -> bytes:
        assert self.free.wait(LONG)
        assert os.path.samestat(os.fstat(descriptor), Path(self.path).stat())
        if request == _SUPPORT:
            return struct.pack("=II32s", self.options, 0, b"Software Watchdog")
        if request == _SET:
            (wanted,) = struct.unpack("=i", argument)
            if wanted > self.most:
                raise OSError(errno.EINVAL, "Invalid argument")
            self.timeout = max(wanted, self.least)
        else:
            assert request == _GET
        return struct.pack("=i", self.timeout)

    @property
    def written(self) -> bytes:
        """Since the last time; empty also if it is closed."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._reader, 100)
        return b""

    def is_open(self) -> bool:
        """Whether it is open, when all that was written has been read."""
        try:
            return os.read(self._reader, 1) != b""
        except BlockingIOError:
            return True

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device(tmp_path / "watchdog")
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    yield made
    made.free.set()
    made.close()


async def written(device: Device) -> bytes:
    """What is written to it next."""
    async with asyncio.timeout(LONG):
        while not (found := device.written):
            await asyncio.sleep(0.01)
    return found


async def closed(device: Device) -> None:
    async with asyncio.timeout(LONG):
        while device.is_open():
            await asyncio.sleep(0.01)


async def test_it_is_armed_fed_and_disarmed(device: Device) -> None:
    watchdog = await hardware_watchdog.armed(device.path, 10)
    assert (watchdog.timeout, watchdog.identity, device.timeout) == (10, "Software Watchdog", 10)
    assert device.written == b""
    watchdog.feed_until(time.monotonic() + LONG)
    assert await written(device) == b"\0"
    await watchdog.disarm()
    assert device.written == b"V"
    assert not device.is_open()


async def test_it_is_fed_again_and_again_while_the_loop_hangs(device: Device) -> None:
    watchdog = await hardware_watchdog.armed(device.path, 1)
    watchdog.feed_until(time.monotonic() + LONG)
    fed = b""
    end = time.monotonic() + LONG
    while len(fed) < 3:  # nothing else runs in the loop meanwhile
        assert time.monotonic() < end
        time.sleep(0.01)  # noqa: ASYNC251
        fed += device.written
    assert set(fed) == {0}
    await watchdog.disarm()


async def test_after_its_time_it_is_fed_no_more(device: Device) -> None:
    watchdog = await hardware_watchdog.armed(device.path, 1)
    watchdog.feed_until(time.monotonic() - 0.001)
    await watchdog.disarm()  # it does what came before
    assert device.written == b"V"


async def test_a_shorter_time_counts_at_once(device: Device) -> None:
    watchdog = await hardware_watchdog.armed(device.path, 1)
    watchdog.feed_until(time.monotonic() + LONG)
    assert await written(device) == b"\0"
    watchdog.feed_until(time.monotonic())
    await asyncio.sleep(0.6)  # two feeds would have been due
    assert device.written == b""
    await watchdog.disarm()


async def test_one_whose_timeout_is_fixed_and_short_enough_is_taken(device: Device) -> None:
    device.options, device.timeout = 0x8100, 8
    watchdog = await hardware_watchdog.armed(device.path, 10)
    assert watchdog.timeout == 8
    await watchdog.disarm()


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"least": 30}, "its shortest timeout is 30 s, and not 10 s"),
        ({"options": 0x8100}, "its shortest timeout is 60 s, and not 10 s"),
        ({"most": 5}, "Invalid argument"),
        ({"options": 0x8080}, "it cannot be disarmed (nowayout), so that a stop of failoverd would reset the machine"),
    ],
)
async def test_what_cannot_be_used_is_disarmed_again(device: Device, attributes: dict[str, Any], problem: str) -> None:
    for name, value in attributes.items():
        setattr(device, name, value)
    with pytest.raises(DriverError) as caught:
        await hardware_watchdog.armed(device.path, 10)
    assert caught.value.reason == f"{device.path}: {problem}"
    assert await written(device) == b"V"
    await closed(device)


async def test_one_that_is_in_use_is_said(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> int:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "open", busy)
    with pytest.raises(DriverError, match="another program has it open, and only one can: systemd"):
        await hardware_watchdog.armed(device.path, 10)


async def test_without_room_for_a_thread_it_is_not_armed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(DriverError, match="can't start new thread"):
        await hardware_watchdog.armed(device.path, 10)


async def test_one_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"there is no such watchdog; .*`modprobe softdog`"):
        await hardware_watchdog.armed(str(tmp_path / "watchdog"), 10)


async def test_nothing_is_written_into_what_is_no_watchdog(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("data")
    with pytest.raises(DriverError, match="it is not a watchdog"):
        await hardware_watchdog.armed(str(file), 10)
    assert file.read_text() == "data"


async def test_one_that_answers_too_late_is_disarmed_when_it_does(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware_watchdog, "_ANSWER_TIMEOUT_S", SHORT)
    device.free.clear()
    with pytest.raises(TimedOut, match=r"has not answered within 0\.2 s"):
        await hardware_watchdog.armed(device.path, 10)
    device.free.set()
    assert await written(device) == b"V"
    await closed(device)


async def test_a_feed_that_hangs_is_not_made_up_for_after_its_time(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the machine would be reset later than its deadline."""
    watchdog = await hardware_watchdog.armed(device.path, 10)
    begun, free, write = threading.Event(), threading.Event(), os.write

    def slow(descriptor: int, data: bytes) -> int:
        begun.set()
        assert free.wait(LONG)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    for _ in range(3):
        watchdog.feed_until(time.monotonic() + LONG)
    assert begun.wait(LONG)
    watchdog.feed_until(time.monotonic())
    monkeypatch.setattr(os, "write", write)
    free.set()
    await watchdog.disarm()
    assert device.written == b"\0V"  # the first had begun


async def test_a_feed_that_the_device_refuses_is_said(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = await hardware_watchdog.armed(device.path, 10)
    write = os.write

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", broken)
    watchdog.feed_until(time.monotonic() + LONG)
    async with asyncio.timeout(LONG):
        while not watchdog.failure:
            await asyncio.sleep(0.01)
    assert watchdog.failure == f"{device.path}: Input/output error"
    monkeypatch.setattr(os, "write", write)
    watchdog.feed_until(time.monotonic() + LONG)
    assert await written(device) == b"\0"
    await watchdog.disarm()
    assert watchdog.failure == ""


async def test_a_driver_that_never_stops_is_not_used(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_watchdog, "shown", lambda _: {"nowayout": "1"})
    with pytest.raises(DriverError, match=r"it cannot be disarmed \(nowayout\)"):
        await hardware_watchdog.armed(device.path, 10)


@pytest.mark.parametrize(
    ("number", "directory"),
    [(os.makedev(10, 130), "class/watchdog/watchdog0"), (os.makedev(247, 1), "dev/char/247:1")],
)
def test_what_the_kernel_shows(tmp_path: Path, number: int, directory: str) -> None:
    assert hardware_watchdog.shown(number, tmp_path) == {}
    (tmp_path / directory).mkdir(parents=True)
    for key, value in {"identity": "Software Watchdog\n", "nowayout": "0\n"}.items():
        (tmp_path / directory / key).write_text(value)
    assert hardware_watchdog.shown(number, tmp_path) == {"identity": "Software Watchdog", "nowayout": "0"}
