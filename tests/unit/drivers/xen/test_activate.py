"""Starting a guest: what must be so before, what is cleaned up, and that there are never two of it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd.core.words import Level, Verb
from failoverd.drivers.xen import Options, config, disk, guest
from failoverd.drivers.xen.guest import Guest
from failoverd.ports.errors import DriverError, Refused
from tests.unit.drivers.scripted import until
from tests.unit.drivers.xen.conftest import ON_DRBD, quick
from tests.unit.drivers.xen.xens import EVENTS, STATUS, FakeProcesses, FakeXen, recorded, table
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, up


@pytest.fixture
def disks(fake: FakeXen, cfg: str) -> str:
    """The file of a web whose two disks are on DRBD 9, Primary here."""
    fake.forget(f"xl -N create {cfg}")
    fake.answer(f"xl -N create {cfg}", ON_DRBD)
    fake.drbd(NINE / "primary-on-left")
    return cfg


def creates(fake: FakeXen, cfg: str) -> None:
    """It can be created."""
    fake.transcript(f"xl create {cfg}", "create", then=table("starting"))


async def test_it_is_created(fake: FakeXen, web: Guest, disks: str) -> None:
    creates(fake, disks)
    assert await web.activate() is None
    first, *looks, last = fake.told
    assert (first, last) == (f"xl -N create {disks}", f"xl create {disks}")
    assert set(looks) == {"xl list -v", "xl info", EVENTS, STATUS.format("vpn"), STATUS.format("web")}
    assert (await web.observe()).level is Level.ACTIVE


@pytest.mark.parametrize("state", ["running", "starting", "rebooted"])
async def test_one_that_runs_is_left_alone(fake: FakeXen, web: Guest, state: str) -> None:
    fake.show(table(state))
    assert await web.activate() is None
    assert fake.deeds == []


@pytest.mark.parametrize("state", ["crashed", "half-built", "shut-down-preserved", "rebooting"])
async def test_what_is_left_of_one_is_cleaned_up_first(fake: FakeXen, web: Guest, cfg: str, state: str) -> None:
    fake.show(table(state))
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    creates(fake, cfg)
    await web.activate()
    assert fake.deeds == ["xl destroy web", f"xl create {cfg}"]


@pytest.mark.parametrize("state", ["half-built", "crashed", "shut-down", "rebooting", "absent"])
async def test_what_an_xl_is_at_work_on_is_left_to_it(
    fake: FakeXen, processes: FakeProcesses, cfg: str, state: str
) -> None:
    processes.keeper(400, cfg)
    fake.show(table(state))
    with pytest.raises(DriverError, match=r"xl \(pid 400\) is at work on it; see xl list"):
        await quick(cfg).activate()
    assert fake.deeds == []


async def test_what_an_xl_is_at_work_on_may_come_to_run(
    fake: FakeXen, web: Guest, processes: FakeProcesses, cfg: str
) -> None:
    processes.keeper(400, cfg)
    fake.show(table("rebooting"))
    starting = asyncio.create_task(web.activate())
    await until(lambda: fake.told.count("xl list -v") >= 2)
    fake.show(table("rebooted", id=8))
    await starting
    assert fake.deeds == []


async def test_one_that_is_destroyed_and_stays_is_destroyed_once(fake: FakeXen, cfg: str) -> None:
    fake.show(table("crashed"))
    fake.transcript("xl destroy web", "destroy")
    with pytest.raises(DriverError, match=r"web: crashed \(domain 7\)"):
        await quick(cfg).activate()
    assert fake.deeds == ["xl destroy web"]


async def test_one_that_dies_is_waited_for(fake: FakeXen, web: Guest, cfg: str) -> None:
    fake.show(table("running"))
    await web.observe()
    fake.show(table("dying"))
    creates(fake, cfg)
    starting = asyncio.create_task(web.activate())
    await until(lambda: fake.told.count("xl list -v") >= 4)
    assert fake.deeds == []
    fake.show(table("absent"))
    await starting
    assert fake.deeds == [f"xl create {cfg}"]


async def test_one_that_went_by_itself_was_cleaned_up_too(fake: FakeXen, web: Guest, cfg: str) -> None:
    fake.show(table("crashed"))
    fake.transcript("xl destroy web", "destroy-absent", then=table("absent"))
    creates(fake, cfg)
    await web.activate()
    assert fake.deeds[-1] == f"xl create {cfg}"


@pytest.mark.usefixtures("disks")
async def test_a_paused_one_goes_on(fake: FakeXen, web: Guest) -> None:
    fake.show(table("paused"))
    fake.answer("xl unpause web", then=table("running"))
    await web.activate()
    assert fake.deeds == ["xl unpause web"]


@pytest.mark.usefixtures("disks")
async def test_a_paused_one_does_not_go_on_without_its_disks(fake: FakeXen, web: Guest) -> None:
    fake.show(table("paused"))
    fake.drbd(NINE / "all-fine")
    with pytest.raises(DriverError, match="is Secondary here"):
        await web.activate()
    assert fake.deeds == []


async def test_one_by_another_name_is_not_started_again(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running"))
    await web.observe()
    fake.show(table("running", name="hidden"))
    with pytest.raises(DriverError, match=r"under the name hidden: running .*; xl rename 7 web, or xl destroy 7$"):
        await web.activate()
    assert fake.deeds == []


async def test_what_cannot_be_told_is_waited_for(fake: FakeXen, web: Guest, cfg: str) -> None:
    creates(fake, cfg)
    fake.listed(f"""
        if [ -e ../asked ]; then {fake.listing(table("absent"))}; fi
        touch ../asked
        exit 1""")
    await web.activate()
    assert fake.deeds == [f"xl create {cfg}"]


async def test_what_cannot_be_told_is_not_created(fake: FakeXen, cfg: str) -> None:
    _, stderr, _ = recorded("list-nobody")
    fake.listed(f"cat >&2 <<'END'\n{stderr}END\nexit 1")
    with pytest.raises(DriverError, match="xl list: Could not obtain handle"):
        await quick(cfg).activate()
    assert fake.deeds == []


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        (
            "create-no-disk",
            "Disk vdev=xvda failed to stat: /dev/nothere: No such file or directory; Unable to set disk",
        ),
        ("create-no-kernel", "failed to open file '/root/nothere': No such file or directory: Internal error; xc_dom"),
        ("create-too-big", "can't allocate low memory for domain: Out of memory; xc_dom_boot_mem_init failed: Cannot"),
        (
            "create-disk-in-use",
            "/etc/xen/scripts/block add [834] exited with error status 1; script: Device /dev/vdb is",
        ),
        ("create-name-exists", 'Domain with name "web" already exists.; cannot make domain: -6'),
    ],
)
async def test_a_creation_that_fails_says_why(fake: FakeXen, web: Guest, cfg: str, recording: str, reason: str) -> None:
    fake.transcript(f"xl create {cfg}", recording)
    with pytest.raises(DriverError) as raised:
        await web.activate()
    assert raised.value.reason.startswith(f"xl create {cfg}: {reason}")
    assert not isinstance(raised.value, Refused)


async def test_a_creation_that_was_cut_short_is_cleaned_up_by_the_next(fake: FakeXen, web: Guest, cfg: str) -> None:
    (fake.directory / "half-built").write_text(fake.listing(table("half-built")))
    fake.script(f"xl create {cfg}", "mv ../half-built ../table.sh; exec sleep 60")
    starting = asyncio.create_task(web.activate())
    await until(lambda: f"xl create {cfg}" in fake.told and not (fake.directory / "half-built").exists())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    fake.forget(f"xl create {cfg}")
    creates(fake, cfg)
    fake.transcript("xl destroy web", "destroy", then=table("absent"))
    await web.activate()
    assert fake.deeds == [f"xl create {cfg}", "xl destroy web", f"xl create {cfg}"]


@pytest.mark.parametrize(
    ("state", "node", "wrong"),
    [
        (NINE / "primary-on-left", "left", ""),
        (NINE / "primary-on-left", "right", "DRBD resource vpn is Secondary here"),
        (EIGHT / "primary-on-left", "left", ""),
        (EIGHT / "primary-on-left", "right", "DRBD resource vpn is Secondary here"),
        (NINE / "left-isolated", "left", "DRBD resource vpn has no quorum"),
        (NINE / "disk-failed-on-primary-left", "left", "DRBD resource vpn is Diskless here"),
        (EIGHT / "primary-on-synctarget", "left", "DRBD resource vpn is Inconsistent here"),
        (NINE / "no-resource-up", "left", "it is not up here"),
    ],
)
async def test_a_disk_must_be_primary_and_up_to_date_and_have_quorum(
    fake: FakeXen, state: Path, node: str, wrong: str
) -> None:
    fake.drbd(state, node)
    with pytest.raises(DriverError, match=f"^disk /dev/drbd0: {wrong}$") if wrong else contextlib.nullcontext():
        await disk.check([config.Disk(path="/dev/drbd0")])


async def test_without_the_module_no_disk_is_on_drbd(fake: FakeXen) -> None:
    with pytest.raises(DriverError, match=r"^disk /dev/drbd0: it is not up here \(.* module is not loaded\)$"):
        await disk.check([config.Disk(path="/dev/drbd0")])
    assert fake.told == []


def test_a_suspended_disk_is_none() -> None:
    view = replace(up(EIGHT / "primary-on-left", "left"), suspended=frozenset({"user"}))
    assert disk.problem(view, 0) == "DRBD resource vpn is suspended"


def test_a_guest_that_may_run_on_another_primary_is_not_started() -> None:
    view = up(NINE / "primary-on-left", "left")
    peers = [replace(peer, role="Primary") if peer.name == "right" else peer for peer in view.peers]
    assert disk.problem(view, 0) == ""
    assert disk.problem(replace(view, peers=tuple(peers)), 0) == (
        "DRBD resource vpn is Primary on right too, and the guest may run there (allow-two-primaries)"
    )


def test_a_minor_that_is_not_primary_yet_is_no_disk_for_a_guest() -> None:
    """With DRBD 8.4 a resource is Primary when one of its minors is."""
    view = up(EIGHT / "primary-on-left", "left")
    (volume,) = view.volumes
    halves = replace(volume, role="Primary"), replace(volume, number=1, minor=7, role="Secondary")
    assert disk.problem(replace(view, volumes=halves), 0) == ""
    assert disk.problem(replace(view, volumes=halves), 7) == "DRBD resource vpn is Secondary here"


async def test_each_disk_is_judged_by_its_own_resource(fake: FakeXen) -> None:
    fake.drbd(NINE / "left-isolated")
    await disk.check([config.Disk(path="/dev/drbd1")])
    with pytest.raises(DriverError, match=r"^disk /dev/drbd0: DRBD resource vpn has no quorum$"):
        await disk.check([config.Disk(path="/dev/drbd1"), config.Disk(path="/dev/drbd0")])
    with pytest.raises(DriverError, match=r"^disk /dev/drbd10: it is not up here$"):
        await disk.check([config.Disk(path="/dev/drbd10")])


@pytest.mark.usefixtures("disks")
async def test_it_is_not_created_without_its_disks(fake: FakeXen, web: Guest) -> None:
    fake.drbd(NINE / "primary-on-left", "right")
    with pytest.raises(DriverError, match=r"^disk /dev/drbd0: DRBD resource vpn is Secondary here$"):
        await web.activate()
    assert fake.deeds == []


@pytest.mark.usefixtures("disks")
async def test_a_drbdsetup_that_fails_proves_nothing(fake: FakeXen, web: Guest) -> None:
    for asked in (EVENTS, STATUS.format("vpn")):
        fake.forget(asked)
        fake.script(asked, f"cat {NINE}/primary-on-left/left.status.json; echo 'Could not connect' >&2; exit 20")
        with pytest.raises(DriverError, match=r"^disk /dev/drbd0: cannot read DRBD's state: Could not connect"):
            await web.activate()
        fake.drbd(NINE / "primary-on-left")
    assert fake.deeds == []


@pytest.mark.parametrize("recording", ["dryrun-drbd-script", "dryrun-on-crash-restart"])
async def test_what_would_fight_with_failoverd_is_refused(fake: FakeXen, web: Guest, cfg: str, recording: str) -> None:
    fake.forget(f"xl -N create {cfg}")
    fake.transcript(f"xl -N create {cfg}", recording)
    with pytest.raises(Refused, match=f"^{cfg}: "):
        await web.activate()
    assert fake.deeds == []


async def test_without_its_file_it_is_refused(fake: FakeXen, web: Guest, cfg: str) -> None:
    Path(cfg).unlink()
    with pytest.raises(Refused, match="No such file or directory; put the domain's configuration there"):
        await web.activate()
    assert fake.told == []


def little(fake: FakeXen, free: int = 96) -> None:
    """Xen has only so many MiB free: web needs 96, and Xen one for itself."""
    fake.forget("xl info")
    fake.answer("xl info", recorded("info")[0].replace(": 750", f": {free}").rstrip())


async def test_without_memory_it_is_refused(fake: FakeXen, web: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "WAITING_SHARE", 0.0)
    little(fake)
    with pytest.raises(Refused, match=r"^web needs 97 MiB and Xen has 96 free"):
        await web.activate()
    assert fake.deeds == []
    assert (await web.observe()).obstacle == "too little memory is free for web"
    little(fake, 97)
    assert (await web.observe()).obstacle == ""


async def test_memory_that_is_given_back_is_waited_for(fake: FakeXen, web: Guest, cfg: str) -> None:
    creates(fake, cfg)
    little(fake, 10)
    fake.answer("xl info", recorded("info")[0].rstrip())
    await web.activate()
    assert fake.deeds == [f"xl create {cfg}"]
    assert fake.told.count("xl info") == 2


@pytest.mark.parametrize(
    ("conf", "commandline", "refused"),
    [
        ("", "dom0_mem=512M,max:512M", True),
        ("", "placeholder", False),
        ('#autoballoon="on"\n', "dom0_mem=512M,max:512M", True),
        ('autoballoon="auto"\n', "dom0_mem=512M,max:512M", True),
        ('autoballoon="on"\n', "dom0_mem=512M,max:512M", False),
        ("autoballoon=1\n", "dom0_mem=512M,max:512M", False),
        ('autoballoon="off"\n', "placeholder", True),
    ],
)
async def test_memory_is_no_matter_where_xl_takes_it_from_domain_0(
    fake: FakeXen, conf: str, commandline: str, refused: bool
) -> None:
    config.XL_CONF.write_text(conf)
    fake.forget("xl info")
    info = recorded("info")[0].replace(": 750", ": 1").replace("dom0_mem=512M,max:512M", commandline)
    fake.answer("xl info", info.rstrip())
    missing = await config.memory_missing(config.Config(name="web", memory=2048))
    assert bool(missing) is refused


async def test_an_xl_info_that_fails_is_no_reason(fake: FakeXen, web: Guest, cfg: str) -> None:
    fake.forget("xl info")
    fake.answer("xl info", "free_memory            : 1", code=1)
    creates(fake, cfg)
    await web.activate()
    assert fake.deeds == [f"xl create {cfg}"]


async def test_what_is_asked_for_many_guests_at_once_is_asked_once(fake: FakeXen) -> None:
    guests = [config.Config(name=f"guest{number}", memory=96) for number in range(8)]
    await asyncio.gather(*map(config.memory_missing, guests))
    assert fake.told == ["xl info"]


def test_the_plan(web: Guest, cfg: str) -> None:
    assert web.commands(Verb.ACTIVATE) == (f"xl create {cfg}",)
    assert web.commands(Verb.DEACTIVATE) == ("xl shutdown -F web", "xl destroy web  # after 20 s")
    assert web.subject == cfg


def test_its_key() -> None:
    assert Options(config="/etc/xen/web.cfg").owns == ("the domain of /etc/xen/web.cfg",)
    with pytest.raises(ValueError, match="expected the whole path"):
        Options(config="web.cfg")
