"""A program that hangs or fails costs neither the findings of the others, nor the doctor's end."""

import asyncio
from pathlib import Path

import pytest

from failoverd import doctor
from failoverd.core.spec import Config
from failoverd.daemon.config import Configuration
from failoverd.doctor import Finding, Site
from failoverd.doctor.site import Keepalived
from failoverd.ports.errors import TimedOut

SITE = Site(
    configuration=Configuration(node="left", script_user=None, core=Config(), files=(Path("failoverd.toml"),)),
    keepalived=Keepalived(),
    runtime_dir=Path("/run/failoverd"),
)
FOUND = Finding(code="bird-include", about="bird", wrong="it is wrong", why="It matters.", fix="a line")


async def _finds(_: Site) -> list[Finding]:
    return [FOUND]


async def _hangs(_: Site) -> list[Finding]:
    await asyncio.Event().wait()
    raise AssertionError


async def _times_out(_: Site) -> list[Finding]:
    raise TimedOut("drbdadm dump: timed out after 5 s, killed")


async def _cannot_read(_: Site) -> list[Finding]:
    raise PermissionError(13, "Permission denied", "/etc/xen/web.cfg")


def test_a_program_that_fails_or_hangs_is_a_finding_beside_those_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOOK_TIMEOUT_S", 0.05)
    looks = {"keepalived": _hangs, "bird": _finds, "drbd": _times_out, "xen": _cannot_read}
    monkeypatch.setattr(doctor, "_LOOKS", {name: (look, f"show {name}") for name, look in looks.items()})
    found = asyncio.run(doctor.examine(SITE))
    assert [each.fix for each in found] == ["show keepalived", "a line", "show drbd", "show xen"]
    assert {each.code: each.wrong for each in found} == {
        "keepalived-unseen": "cannot examine keepalived: it did not answer within 0.05 s, or a disk did not",
        "bird-include": "it is wrong",
        "drbd-unseen": "cannot examine drbd: drbdadm dump: timed out after 5 s, killed",
        "xen-unseen": "cannot examine xen: /etc/xen/web.cfg: Permission denied",
    }
