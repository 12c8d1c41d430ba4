"""The pages, built once."""

from __future__ import annotations

import pytest

from tests.unit.docs.pages import SOURCES, Manual, build


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manual]:
    """Each page by its name, such as ``failoverd.8``."""
    folder = tmp_path_factory.mktemp("man")
    return {source.stem: build(source, folder) for source in SOURCES}
