"""The laboratory's marker, and what is shown of a machine when a story fails.

What the host lacks fails a test; it never skips it: a laboratory that was silently left out looks just like one that
found nothing wrong.
"""

import contextlib
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from .hypervisors import Hypervisors
from .machine import CommandError, Machine
from .service import Service

_HERE = Path(__file__).parent
_STORY_SECONDS = 600


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vmlab: needs root and boots virtual machines")
    config.addinivalue_line("markers", "guests: three of them, with Xen and DRBD")
    config.addinivalue_line("markers", "everyday: .ci/run tells it too; the others are for a release")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.vmlab)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_STORY_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the console and the journal of each machine in which a story failed."""
    report = yield
    if call.when == "call" and report.failed and isinstance(item, pytest.Function):
        for fixture in item.funcargs.values():
            machines = [fixture.machine] if isinstance(fixture, Service) else []
            if isinstance(fixture, Hypervisors):
                machines = [node.machine for node in fixture.nodes.values()]
            for machine in machines:
                report.sections.append((f"machine {machine.name}", _evidence(machine)))
    return report


def _evidence(machine: Machine) -> str:
    said = f"console:\n{machine.console()}\n"
    with contextlib.suppress(OSError, subprocess.SubprocessError, CommandError):
        journal = ["journalctl", "-b", "-n", "120", "--no-pager", "-o", "short-monotonic"]
        units = [word for unit in ("init.scope", "failoverd", "keepalived") for word in ("-u", unit)]
        said += f"journal:\n{machine.run([*journal, *units], within=20).stdout}"
    return said
