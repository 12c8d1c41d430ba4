from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .ward import Ward, ward


@pytest.fixture(name="wards", scope="package")
def _wards() -> Iterator[Callable[[str], Ward]]:
    """One correct node of each example, which every test leaves as it was."""
    made: dict[str, Ward] = {}
    with ExitStack() as stack:

        def get(use: str) -> Ward:
            if use not in made:
                made[use] = stack.enter_context(ward(use))
            return made[use]

        yield get
