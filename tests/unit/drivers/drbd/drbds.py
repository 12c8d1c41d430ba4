"""The driver of a DRBD resource as tests make it, and what it did."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.drivers import drbd
from failoverd.drivers.drbd import driver
from failoverd.drivers.drbd.driver import Drbd
from failoverd.ports.errors import Refused
from tests.unit.ports.drbd.drbdsetups import FakeDrbd

SPEC = ResourceSpec(instance="VI_1", name="vpn-disk", driver="drbd", timeout=0.9, stop_timeout=0.6)
SHOW = "show vpn"
PRIMARY_9 = "primary vpn"
PRIMARY_8 = "primary 0"


def behind(disks: str, name: str = "vpn") -> str:
    """Why a resource is refused whose data does not become UpToDate by itself."""
    remedy = f"bring up a node that has it UpToDate, and run drbdadm adjust {name}"
    return f"the data here is {disks}, not UpToDate; {remedy}"


def make(spec: ResourceSpec = SPEC, **keys: Any) -> Drbd:
    options: dict[str, Any] = {"resource": "vpn", "connect_grace": 0} | keys
    return drbd.make(drbd.Options(**options), spec)


def over_when(monkeypatch: pytest.MonkeyPatch, reached: Callable[[], bool]) -> None:
    """The time of an activation, or of a demotion, is over as soon as this is true, and not before."""
    clock = SimpleNamespace(monotonic=lambda: math.inf if reached() else 0.0, time=time.time)
    monkeypatch.setattr(driver, "time", clock)


def actions(fake: FakeDrbd) -> list[str]:
    """The commands that change something."""
    return [line for line in fake.told if line.split()[0] not in ("status", "events2", "show")]


async def refused(driver: Drbd) -> str:
    """Why it refuses to be activated."""
    with pytest.raises(Refused) as error:
        await driver.activate()
    return error.value.reason
