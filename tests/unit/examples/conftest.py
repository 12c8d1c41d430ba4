from collections.abc import Iterator

import pytest

from .sandbox import Sandbox, sandbox


@pytest.fixture(name="box")
def _box() -> Iterator[Sandbox]:
    with sandbox() as made:
        yield made
