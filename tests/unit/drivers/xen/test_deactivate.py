"""Stopping a guest: asked, waited for, destroyed, and only gone when nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from failoverd.core.words import Level
from failoverd.drivers.xen import xl_processes
from failoverd.drivers.xen.guest import Guest
from failoverd.ports import command, graceful_stop
from failoverd.ports.errors import DriverError
from tests.unit.drivers.scripted import until
from tests.unit.drivers.xen.conftest import Clock, quick
from tests.unit.drivers.xen.xens import FakeProcesses, FakeXen, recorded, table


@pytest.fixture(autouse=True)
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forced rung is long enough for every machine."""
    monkeypatch.setattr(graceful_stop, "FORCED_STOP_S", 20.0)


def over(fake: FakeXen, clock: Clock, *looks: int) -> None:
    """Each of both rungs is over when xl list was run so often since now."""
    before = fake.told.count("xl list -v")
    clock.steps += [partial(looked, fake, before + number) for number in looks]


def looked(fake: FakeXen, number: int) -> bool:
    return fake.told.count("xl list -v") >= number


async def times(fake: FakeXen, argv: str, number: int) -> None:
    """Wait until it was run so often."""
    await until(lambda: fake.told.count(argv) >= number)


async def test_it_is_asked_to_shut_down(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running"))
    fake.transcript("xl shutdown -F web", "shutdown", then=table("absent"))
    assert await web.deactivate() is None
    assert fake.deeds == ["xl shutdown -F web"]
    assert (await web.observe()).level is Level.STANDBY


async def test_it_is_waited_for_without_asking_again(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running"))
    fake.transcript("xl shutdown -F web", "shutdown")
    stopping = asyncio.create_task(web.deactivate())
    await times(fake, "xl list -v", 4)
    assert not stopping.done()
    fake.show(table("absent"))
    await stopping
    assert fake.deeds == ["xl shutdown -F web"]


async def test_one_that_is_not_there_is_left_alone(fake: FakeXen, web: Guest) -> None:
    await web.deactivate()
    assert fake.deeds == []


async def test_one_that_does_not_listen_is_destroyed_at_its_deadline(fake: FakeXen, cfg: str, clock: Clock) -> None:
    fake.show(table("running"))
    fake.transcript("xl shutdown -F web", "shutdown")
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    over(fake, clock, 5)
    await quick(cfg, stop_timeout=600).deactivate()
    assert fake.deeds == ["xl shutdown -F web", "xl destroy web"]
    assert fake.told[: fake.told.index("xl destroy web")].count("xl list -v") >= 5


async def test_a_shutdown_that_hangs_is_ended_at_the_deadline(fake: FakeXen, cfg: str) -> None:
    fake.show(table("running"))
    fake.script("xl shutdown -F web", "exec sleep 60")
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    await quick(cfg).deactivate()
    assert fake.deeds[-1] == "xl destroy web"


async def test_a_shutdown_that_fails_is_tried_again(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running"))
    fake.transcript("xl shutdown -F web", "shutdown-paused")
    fake.transcript("xl shutdown -F web", "shutdown", then=table("absent"))
    await web.deactivate()
    assert fake.deeds == ["xl shutdown -F web"] * 2


@pytest.mark.parametrize("state", ["paused", "crashed", "half-built", "shut-down-preserved", "rebooting"])
async def test_one_that_cannot_be_asked_is_destroyed_at_once(fake: FakeXen, cfg: str, state: str) -> None:
    fake.show(table(state))
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    await asyncio.wait_for(quick(cfg, stop_timeout=3600.0).deactivate(), 30)
    assert fake.deeds == ["xl destroy web"]


@pytest.mark.parametrize("state", ["shut-down", "absent"])
async def test_what_an_xl_clears_away_is_left_to_it(
    fake: FakeXen, web: Guest, processes: FakeProcesses, cfg: str, state: str
) -> None:
    xl_processes = processes.keeper(400, cfg)
    fake.show(table(state))
    stopping = asyncio.create_task(web.deactivate())
    await times(fake, "xl list -v", 3)
    assert not stopping.done()
    assert fake.deeds == []
    fake.transcript("xl destroy web", "destroy-absent")  # in the moment in which it is just done
    fake.show(table("absent"))
    (xl_processes / "comm").write_text("sh\n")
    await stopping


async def test_one_that_is_only_just_built_is_awaited_and_asked(
    fake: FakeXen, web: Guest, processes: FakeProcesses, cfg: str
) -> None:
    xl_processes = processes.keeper(400, cfg)
    fake.show(table("being-built"))
    (fake.directory / "absent").write_text(fake.listing(table("absent")))
    fake.script("xl shutdown -F web", f"mv ../absent ../table.sh; echo sh >{xl_processes}/comm")
    stopping = asyncio.create_task(web.deactivate())
    await times(fake, "xl list -v", 2)
    assert fake.deeds == []
    fake.show(table("starting"))
    await stopping
    assert fake.deeds == ["xl shutdown -F web"]


async def test_one_that_reboots_instead_is_asked_again(
    fake: FakeXen, web: Guest, processes: FakeProcesses, cfg: str
) -> None:
    xl_processes = processes.keeper(400, cfg)
    fake.show(table("running"))
    fake.transcript("xl shutdown -F web", "shutdown", then=table("rebooting"))
    stopping = asyncio.create_task(web.deactivate())
    await times(fake, "xl list -v", 3)
    fake.forget("xl shutdown -F web")
    (fake.directory / "absent").write_text(fake.listing(table("absent")))
    fake.script("xl shutdown -F web", f"mv ../absent ../table.sh; echo sh >{xl_processes}/comm")
    fake.show(table("rebooted", id=8))
    await stopping
    assert fake.deeds == ["xl shutdown -F web", "xl shutdown -F web"]


async def test_one_by_another_name_is_stopped_by_its_number(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running"))
    await web.observe()
    fake.show(table("running", name="hidden"))
    fake.transcript("xl shutdown -F 7", "shutdown", then=table("absent"))
    await web.deactivate()
    assert fake.deeds == ["xl shutdown -F 7"]


async def test_what_cannot_be_seen_is_destroyed_at_the_deadline(fake: FakeXen, cfg: str, clock: Clock) -> None:
    fake.listed("exit 1")
    fake.transcript("xl shutdown -F web", "shutdown")
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    over(fake, clock, 3)
    await quick(cfg, stop_timeout=600).deactivate()
    assert fake.deeds == ["xl shutdown -F web", "xl destroy web"]


async def test_what_cannot_be_seen_is_asked_by_its_name(fake: FakeXen, web: Guest) -> None:
    fake.listed("exit 1")
    fake.transcript("xl shutdown -F web", "shutdown", then=table("absent"))
    await web.deactivate()
    assert fake.deeds == ["xl shutdown -F web"]


async def test_an_xl_list_that_hangs_leaves_time_to_destroy(
    fake: FakeXen, web: Guest, cfg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.show(table("running"))
    await web.observe()
    fake.transcript("xl shutdown -F web", "shutdown")
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    for factor in (1.0, 20.0):  # the second for a machine on which xl is slow to start
        monkeypatch.setattr(graceful_stop, "FORCED_STOP_S", graceful_stop.RESERVE_S + factor * 4.0)
        before = len(fake.deeds)
        fake.listed("exec sleep 60")
        with contextlib.suppress(DriverError):
            await quick(cfg, stop_timeout=factor * 0.4).deactivate()
            if fake.deeds[before:] == ["xl shutdown -F web", "xl destroy web"]:
                return
    raise AssertionError(fake.deeds)


async def test_what_cannot_be_seen_is_not_gone(fake: FakeXen, cfg: str, clock: Clock) -> None:
    fake.listed("echo no >&2; exit 1")
    fake.transcript("xl destroy web", "destroy-absent")
    over(fake, clock, 2, 4)
    with pytest.raises(DriverError, match=r"^web is not gone: xl list: no; see xl list and /var/log/xen$"):
        await quick(cfg, stop_timeout=600).deactivate()
    assert fake.deeds[-1] == "xl destroy web"


async def test_without_a_name_nothing_is_destroyed(fake: FakeXen, cfg: str, clock: Clock) -> None:
    Path(cfg).unlink()
    fake.show(table("running"))
    over(fake, clock, 2, 4)
    with pytest.raises(DriverError, match="the name of the domain is unknown"):
        await quick(cfg, stop_timeout=600).deactivate()
    assert fake.deeds == []


async def test_one_that_survives_everything_is_an_error(fake: FakeXen, cfg: str, clock: Clock) -> None:
    fake.show(table("running"))
    fake.transcript("xl shutdown -F web", "shutdown")
    fake.answer("xl destroy web", "", "libxl: error: libxl_domain.c:1183:libxl__destroy_domid: Domain 7:busy", 1)
    over(fake, clock, 2, 4)
    with pytest.raises(DriverError, match=r"^web is not gone: running \(domain 7\)"):
        await quick(cfg, stop_timeout=600).deactivate()
    assert "xl destroy web" in fake.deeds


async def test_one_that_goes_on_dying_is_not_gone(fake: FakeXen, web: Guest, cfg: str, clock: Clock) -> None:
    fake.show(table("running"))
    await web.observe()
    fake.show(table("dying"))
    fake.transcript("xl destroy 7", "destroy")
    over(fake, clock, 2, 4)
    with pytest.raises(DriverError, match=r"dying \(domain 7\)"):
        await quick(cfg, stop_timeout=600).deactivate()


async def test_an_xl_that_would_start_it_again_is_ended_at_last(
    fake: FakeXen, processes: FakeProcesses, cfg: str
) -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    at_work = processes.keeper(pid, cfg)
    with command.recording() as texts:
        stopping = asyncio.create_task(quick(cfg).deactivate())
        await until(lambda: os.waitpid(pid, os.WNOHANG)[0])
    (at_work / "comm").write_text("sh\n")
    await stopping
    assert f"kill -KILL {pid}" in texts
    assert fake.deeds == []


async def test_an_xl_that_ended_meanwhile_is_no_error(processes: FakeProcesses, cfg: str) -> None:
    number = 2**22 - 1
    gone = processes.keeper(number, cfg)
    with command.recording() as texts:
        stopping = asyncio.create_task(quick(cfg).deactivate())
        await until(lambda: f"kill -KILL {number}" in texts)
    (gone / "comm").write_text("sh\n")
    await stopping


async def test_whoever_has_the_number_of_an_xl_that_ended_lives(processes: FakeProcesses, cfg: str) -> None:
    other = subprocess.Popen(["sleep", "60"])
    seen = processes.keeper(other.pid, cfg)
    assert xl_processes.find("web", cfg) == (other.pid,)
    (seen / "cmdline").write_bytes(b"sleep\x0060\0")
    xl_processes.end(other.pid, "web", cfg)
    assert other.poll() is None
    other.kill()
    assert other.wait() == -signal.SIGKILL


async def test_several_are_stopped_at_once(fake: FakeXen, web: Guest, tmp_path: Path) -> None:
    other = tmp_path / "vpn.cfg"
    other.touch()
    fake.answer(f"xl -N create {other}", recorded("dryrun-web")[0].replace('"web"', '"vpn"').rstrip())
    vpn = table("running", id=8, name="vpn", uuid="11111111-16ee-4220-8844-4b1a58d15981").split("\n")[2]
    fake.show(f"{table('running')}{vpn}\n")
    fake.transcript("xl shutdown -F web", "shutdown")
    fake.transcript("xl shutdown -F vpn", "shutdown")
    stopping = [asyncio.create_task(it.deactivate()) for it in (web, quick(str(other), stop_timeout=60.0))]
    await times(fake, "xl shutdown -F web", 1)
    await times(fake, "xl shutdown -F vpn", 1)
    fake.show(table("absent"))
    await asyncio.gather(*stopping)
    assert sorted(fake.deeds) == ["xl shutdown -F vpn", "xl shutdown -F web"]
