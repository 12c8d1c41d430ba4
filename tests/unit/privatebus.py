"""A system bus of a test's own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from failoverd.ports import dbus

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
</policy></busconfig>
"""


@asynccontextmanager
async def private_bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Path, asyncio.subprocess.Process]]:
    """One that this process, and all that it starts, takes for the machine's: its directory, and its daemon."""
    with tempfile.TemporaryDirectory(prefix="fo-bus-") as name:
        directory = Path(name)
        directory.joinpath("bus.conf").write_text(_CONFIG.format(path=directory / "bus"))
        daemon = await started("dbus-daemon", f"--config-file={directory}/bus.conf", "--nofork", "--nopidfile")
        while not (directory / "bus").exists():
            await asyncio.sleep(0.01)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={directory}/bus")
        monkeypatch.setattr(dbus._connection, "_bus", None)
        yield directory, daemon
        await ended(daemon)


async def started(*argv: str) -> asyncio.subprocess.Process:
    """A process that says nothing."""
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(*argv, stdin=quiet, stdout=quiet, stderr=quiet)


async def ended(process: asyncio.subprocess.Process) -> None:
    """End it."""
    if process.returncode is None:
        process.kill()
    await process.wait()
