"""What the tests of ports share: a network of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit import own_network as networks


@pytest.fixture
def own_network() -> Iterator[None]:
    """A network namespace of its own, with lo up; needs root."""
    with networks.own_network("link set lo up"):
        yield
