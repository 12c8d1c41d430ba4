"""How it is made Secondary, and who is in the way, with a drbdsetup that says what was recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failoverd.drivers.drbd import openers
from failoverd.ports.drbd import look
from failoverd.ports.drbd.status import Resource
from failoverd.ports.errors import DriverError
from tests.unit.drivers.drbd.drbds import SPEC, actions, make, over_when
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, STATUS, FakeDrbd, eight


async def test_demotion(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    fake.transcript("secondary vpn", NINE / "primary-on-left/left.cmd.secondary.txt")
    assert await make().deactivate() is None
    assert actions(fake) == ["secondary vpn"]


async def test_nothing_to_demote(fake: FakeDrbd) -> None:
    fake.state(NINE / "all-fine", "left")
    await make().deactivate()
    fake.forget(STATUS)
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    await make().deactivate()
    look.PROC.unlink()
    await make().deactivate()
    assert actions(fake) == []


async def test_taken_down_meanwhile(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    fake.transcript("secondary vpn", NINE / "no-resource-up/left.cmd.drbdsetup-secondary.txt")
    await make().deactivate()


async def test_an_opener_that_is_just_closing(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    for _ in range(2):
        fake.transcript("secondary vpn", NINE / "device-open-write/left.cmd.secondary.txt")
    fake.answer("secondary vpn")
    await make(replace(SPEC, stop_timeout=30)).deactivate()
    assert len(actions(fake)) == 3


async def test_who_holds_it_open_is_named(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    over_when(monkeypatch, lambda: len(actions(fake)) > 1)
    fake.state(NINE / "primary-on-left", "left")
    fake.transcript("secondary vpn", NINE / "device-open-write/left.cmd.secondary.txt")
    with pytest.raises(DriverError, match=r"vpn stays Primary: it is held open by bash \(pid 800\)"):
        await make().deactivate()
    assert len(actions(fake)) == 2
    assert not [line for line in fake.told if "force" in line]


async def test_what_holds_it_open_for_ever_is_ended(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    hastened: list[str] = []

    async def hasten(resource: Resource) -> None:
        hastened.append(resource.name)

    monkeypatch.setattr(openers, "hasten", hasten)
    fake.state(NINE / "primary-on-left", "left")
    for _ in range(2):
        fake.transcript("secondary vpn", NINE / "device-open-write/left.cmd.secondary.txt")
    fake.answer("secondary vpn")
    await make(replace(SPEC, stop_timeout=30)).deactivate()
    assert hastened == ["vpn", "vpn"]


async def test_who_holds_it_open_is_searched_for_on_eight(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(minor: int) -> list[str]:
        assert minor == 0
        return found

    eight(EIGHT / "device-open-write", "left")
    fake.state(EIGHT / "device-open-write", "left")
    fake.transcript("secondary 0", EIGHT / "device-open-write/left.cmd.drbdsetup-secondary.txt")
    found = ["the loop device loop0"]
    monkeypatch.setattr(openers, "find", find)
    with pytest.raises(DriverError, match="held open by the loop device loop0"):
        await make().deactivate()
    found.clear()
    with pytest.raises(DriverError, match="held open by a process that cannot be seen"):
        await make().deactivate()


async def test_a_demotion_although_the_state_cannot_be_seen(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    driver = make()
    await driver.observe()
    fake.forget(STATUS)
    fake.script(STATUS, "exit 20")
    fake.answer("secondary vpn")
    await driver.deactivate()
    assert actions(fake) == ["secondary vpn"]


async def test_a_demotion_of_what_was_never_seen(fake: FakeDrbd) -> None:
    """By drbdadm, which knows what it is made of."""
    fake.script(STATUS, "exit 20")
    drbdadm = fake.directory / "drbdadm"
    drbdadm.write_text('#!/bin/sh\necho "$*" >"$0.told"\n')
    drbdadm.chmod(0o755)
    await make().deactivate()
    assert (fake.directory / "drbdadm.told").read_text() == "secondary vpn\n"
    drbdadm.write_text("#!/bin/sh\necho 'vpn: Device is held open by someone (-12)' >&2\nexit 11\n")
    with pytest.raises(DriverError, match="held open by a process that cannot be seen"):
        await make().deactivate()


async def test_another_reason_is_told(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    fake.answer("secondary vpn", stderr="vpn: State change failed: (-23) Timeout in operation", code=11)
    with pytest.raises(DriverError, match=r"vpn stays Primary: vpn: State change failed: \(-23\) Timeout"):
        await make().deactivate()
    fake.forget("secondary vpn")
    fake.answer("secondary vpn", stderr="vpn: Operation not permitted", code=20)
    with pytest.raises(DriverError, match="drbdsetup secondary vpn: vpn: Operation not permitted"):
        await make(replace(SPEC, stop_timeout=600)).deactivate()
