"""What all unit tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from failoverd.trouble import troubles

# How long an example takes says how busy the machine is, and nothing about us.
settings.register_profile("failoverd", deadline=None)
settings.load_profile("failoverd")


@pytest.fixture(autouse=True)
def no_trouble_of_another_test() -> None:
    troubles._standing.clear()
