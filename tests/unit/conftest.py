"""What all unit tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from failoverd import trouble
from failoverd.ports import process
from failoverd.trouble import Troubles

# How long an example takes, or its making, says how busy the machine is, and nothing about us.
settings.register_profile("failoverd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("failoverd")


@pytest.fixture(autouse=True)
def killed_at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was killed is not called hung because the machine is too busy to let it end within a second."""
    *before, (number, _) = process.LADDER
    monkeypatch.setattr(process, "LADDER", (*before, (number, 30.0)))


@pytest.fixture(autouse=True)
def troubles() -> Troubles:
    """Those of the process, and none of another test's."""
    trouble.troubles._standing.clear()
    return trouble.troubles
