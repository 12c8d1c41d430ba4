"""``failoverctl check`` may run every second: it imports nothing that is slow and that it does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_SLOW = {"argcomplete", "dataclasses", "importlib.util", "inspect", "pathlib", "rich"}
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from failoverd.ctl import __main__, command_line
command_line.parse(sys.argv[2:])
print(*sys.modules)
"""


@pytest.mark.parametrize("verb", ["check", "status"])
def test_only_what_is_needed_is_imported(verb: str) -> None:
    command = [sys.executable, "-S", "-c", _PROGRAM, str(_ROOT), verb]  # -S: a virtual environment imports more
    done = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
    assert f"failoverd.ctl.verbs.{verb}" in done.stdout.split()
    assert not _SLOW & set(done.stdout.split())
