"""The driver of a DRBD resource as tests make it, and what it did."""

from __future__ import annotations

from typing import Any

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.drivers import Refused, drbd
from failoverd.drivers.drbd.driver import Drbd
from tests.unit.drivers.drbdstate.drbdsetups import FakeDrbd

SPEC = ResourceSpec(instance="VI_1", name="vpn-disk", driver="drbd", timeout=0.9, stop_timeout=0.6)
SHOW = "show vpn"
PRIMARY_9 = "primary vpn"
PRIMARY_8 = "primary 0"


def make(spec: ResourceSpec = SPEC, **keys: Any) -> Drbd:
    options: dict[str, Any] = {"resource": "vpn", "connect_grace": 0} | keys
    return drbd.make(drbd.Options(**options), spec)


def actions(fake: FakeDrbd) -> list[str]:
    """The commands that change something."""
    return [line for line in fake.told if line.split()[0] not in ("status", "events2", "show")]


async def refused(driver: Drbd) -> str:
    """Why it refuses to be activated."""
    with pytest.raises(Refused) as error:
        await driver.activate()
    return error.value.reason
