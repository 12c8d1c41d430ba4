"""The laboratory's fixtures.

What the machine lacks fails a test, with a list; it never skips it: a laboratory that was silently left out looks
just like one that found nothing wrong.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from .lab import Lab

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.lab)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the logs of the laboratory in which a test failed, and say where."""
    report = yield
    # A wait of the laboratory's own that failed has kept them already, and says so in a note.
    kept = call.excinfo is not None and getattr(call.excinfo.value, "__notes__", None)
    if call.when == "call" and report.failed and not kept and isinstance(item, pytest.Function):
        for name, lab in item.funcargs.items():
            if isinstance(lab, Lab):
                report.sections.append((f"laboratory {name}", f"logs of all nodes: {lab.keep_logs()}"))
    return report


@pytest.fixture
def hosting(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """failoverd in the hosting profile, new for each story: left is MASTER, and the client is answered by it.

    A story's parameter, where it has one, holds further arguments of Lab.
    """
    with Lab("hosting", **getattr(request, "param", {})) as lab:
        lab.client.start()
        lab.wait_until_answered_by("left")
        yield lab


@pytest.fixture(scope="module")
def router() -> Iterator[Lab]:
    """failoverd in the router profile, where OSPF takes its time: one for all stories of a module."""
    with Lab("router") as lab:
        lab.client.start()
        lab.wait_until_answered_by("left")
        yield lab
