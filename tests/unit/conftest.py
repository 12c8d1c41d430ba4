"""What all unit tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from failoverd import trouble
from failoverd.trouble import Troubles

# How long an example takes says how busy the machine is, and nothing about us.
settings.register_profile("failoverd", deadline=None)
settings.load_profile("failoverd")


@pytest.fixture(autouse=True)
def troubles() -> Troubles:
    """Those of the process, and none of another test's."""
    trouble.troubles._standing.clear()
    return trouble.troubles
