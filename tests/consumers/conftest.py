"""What these tests share: a marker, and a copy of the machine to install configurations in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.examples.sandbox import Sandbox, sandbox

_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "consumers: with the programs that read what failoverd writes; needs root")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.consumers)


@pytest.fixture(name="box")
def _box() -> Iterator[Sandbox]:
    with sandbox() as made:
        yield made
