"""What the daemon's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failoverd.daemon import users
from tests.unit import own_network as networks
from tests.unit.daemon.keepaliveds import Fakes


@pytest.fixture(autouse=True)
def nobody_is_known_yet() -> None:
    for directory in (users.user_name, users.user, users.group):
        directory._known.clear()


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    """Programs that are taken for keepalived."""
    made = Fakes()
    yield made
    made.close()


@pytest.fixture
def own_network() -> Iterator[None]:
    """A network namespace of its own, with an eth0; needs root."""
    with networks.own_network("link add eth0 type bridge", "link set eth0 up"):
        yield
