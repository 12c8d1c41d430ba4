"""What is seen of a guest: each recorded state, and all that must not be taken for "not there"."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from failoverd.core.resource import Observation
from failoverd.core.words import Level
from failoverd.drivers.xen import config, files, guest, look
from failoverd.drivers.xen.guest import Guest
from failoverd.osutil import room
from failoverd.ports.errors import Refused, TimedOut
from tests.unit import full
from tests.unit.drivers.scripted import until
from tests.unit.drivers.xen.conftest import PLAIN, quick
from tests.unit.drivers.xen.xens import UUID, FakeProcesses, FakeXen, recorded, table

OTHER = "11111111-16ee-4220-8844-4b1a58d15981"


async def known(web: Guest, fake: FakeXen) -> None:
    """Let it have been seen running."""
    fake.show(table("running"))
    assert (await web.observe()).level is Level.ACTIVE


@pytest.mark.parametrize(
    ("state", "level", "detail"),
    [
        ("absent", Level.STANDBY, "not there"),
        ("starting", Level.ACTIVE, "running (domain 7)"),
        ("running", Level.ACTIVE, "running (domain 7)"),
        ("rebooted", Level.ACTIVE, "running (domain 7)"),
        ("paused", Level.FAILED, "paused (domain 7)"),
        ("crashed", Level.FAILED, "crashed (domain 7)"),
        ("shut-down", Level.FAILED, "shut down (domain 7)"),
        ("shut-down-preserved", Level.FAILED, "shut down (domain 7)"),
        ("rebooting", Level.UNKNOWN, "rebooting (domain 7)"),
        ("being-built", Level.UNKNOWN, "paused, and never ran yet (domain 7)"),
        ("half-built", Level.UNKNOWN, "paused, and never ran yet (domain 7)"),
    ],
)
async def test_every_state_has_its_level(fake: FakeXen, web: Guest, state: str, level: Level, detail: str) -> None:
    fake.show(table(state))
    assert await web.observe() == Observation(level=level, detail=detail)
    assert fake.deeds == []


async def test_one_that_dies_has_no_name_but_is_known(fake: FakeXen, web: Guest) -> None:
    await known(web, fake)
    fake.show(table("dying"))
    assert await web.observe() == Observation(level=Level.FAILED, detail="dying (domain 7)")


async def test_one_that_is_built_again_has_no_name_but_is_known(fake: FakeXen, web: Guest) -> None:
    await known(web, fake)
    fake.show(table("rebooting-nameless"))
    assert (await web.observe()).level is Level.UNKNOWN


async def test_the_old_one_may_still_be_dying(fake: FakeXen, web: Guest) -> None:
    await known(web, fake)
    fake.show(table("dying") + table("rebooted", id=8).split("\n")[2] + "\n")
    assert await web.observe() == Observation(level=Level.ACTIVE, detail="running (domain 8)")


async def test_another_guest_is_not_this_one(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running", name="web2", uuid=OTHER))
    assert (await web.observe()).level is Level.STANDBY


async def test_another_guest_that_is_built_or_dies_has_no_name(fake: FakeXen, web: Guest) -> None:
    fake.show(table("rebooting-nameless", uuid=OTHER))
    assert (await web.observe()).level is Level.STANDBY
    fake.show(table("dying", uuid=OTHER))
    assert (await web.observe()).level is Level.STANDBY


async def test_one_that_runs_without_a_name_may_be_any(fake: FakeXen, web: Guest) -> None:
    fake.show(table("running", name="(null)", uuid=OTHER))
    seen = await web.observe()
    assert seen.level is Level.UNKNOWN
    assert "domain 7" in seen.detail


async def test_two_are_one_too_many(fake: FakeXen, web: Guest) -> None:
    await known(web, fake)
    fake.show(table("running") + table("crashed", id=8, name="web-old").split("\n")[2] + "\n")
    seen = await web.observe()
    assert seen.level is Level.UNKNOWN
    assert "exists twice" in seen.detail


async def test_a_new_name_hides_nothing_even_from_a_new_daemon(fake: FakeXen, web: Guest, cfg: str) -> None:
    await known(web, fake)
    fake.show(table("running", name="hidden"))
    for it in (web, quick(cfg)):
        seen = await it.observe()
        assert (seen.level, seen.detail) == (Level.UNKNOWN, "running (domain 7), under the name hidden")


async def test_memory_that_cannot_be_kept_is_no_harm(fake: FakeXen, web: Guest, cfg: str, tmp_path: Path) -> None:
    (tmp_path / "memory").touch()
    await known(web, fake)
    fake.show(table("absent"))
    assert (await quick(cfg).observe()).level is Level.STANDBY


@pytest.mark.parametrize("state", ["no-hypervisor", "nobody"])
async def test_an_xl_that_fails_says_nothing(fake: FakeXen, web: Guest, state: str) -> None:
    _, stderr, code = recorded(f"list-{state}")
    fake.listed(f"cat >&2 <<'END'\n{stderr}END\nexit {code}")
    seen = await web.observe()
    assert seen.level is Level.UNKNOWN
    assert "xl list: Could not obtain handle on privileged command interface" in seen.detail


async def test_the_complaint_of_an_absent_domain_is_no_table(fake: FakeXen, web: Guest) -> None:
    fake.listed("echo 'web is an invalid domain identifier (rc=-6)' >&2; exit 1")
    assert (await web.observe()).level is Level.UNKNOWN


async def test_an_xl_that_hangs_says_nothing(fake: FakeXen, web: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    await known(web, fake)
    assert recorded("list-xenstored-dead") == ("", "", 124)
    monkeypatch.setattr(guest, "XL_TIMEOUT_S", 0.3)
    fake.listed("exec sleep 60")
    seen = await web.observe()
    assert seen.level is Level.UNKNOWN
    assert seen.detail.startswith("xl list: no answer within 0.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        table("running").partition("\n")[0] + "\n",
        table("absent")[:-30],
        table("running")[:-30],
        "\n".join(table("running").split("\n")[::2]),
        table("absent").replace("Domain-0 ", "Domain-0\n"),
        table("absent") + "web 7 96\n",
        table("running", id=0),
        table("running").replace("-b----", "-b---x"),
    ],
)
async def test_half_a_table_is_no_table(fake: FakeXen, web: Guest, text: str) -> None:
    fake.listed(f"printf %s '{text}'; exit")
    assert (await web.observe()).level is Level.UNKNOWN


async def test_what_passes_is_waited_for(
    fake: FakeXen, web: Guest, processes: FakeProcesses, cfg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "SETTLING_TIMEOUT_S", 60.0)
    keeper = processes.keeper(400, cfg)
    looking = asyncio.create_task(web.observe())
    await until(lambda: fake.told.count("xl list -v") >= 3)
    assert not looking.done()
    (keeper / "comm").write_text("sh\n")
    assert (await looking).level is Level.STANDBY


async def test_an_xl_that_may_start_it_makes_it_unknown(
    fake: FakeXen, web: Guest, processes: FakeProcesses, cfg: str
) -> None:
    processes.keeper(400, cfg)
    seen = await web.observe()
    assert seen.level is Level.UNKNOWN
    assert seen.detail == "not there; xl (pid 400) is at work on it, and may start it"
    fake.show(table("running"))
    assert await web.observe() == Observation(level=Level.ACTIVE, detail="running (domain 7)")


@pytest.mark.parametrize(
    ("words", "stdout", "found"),
    [
        (("xl", "create", "CFG"), "pipe:[1]", True),
        (("/bin/sh", "/usr/sbin/xl", "create", "CFG"), "pipe:[1]", True),
        (("xl", "cr", "CFG"), "pipe:[1]", True),
        (("xl", "rest", "/saved"), "/var/log/xen/xl-web.log", True),
        (("xl", "-v", "create", "-p", "CFG", "memory=64"), "pipe:[1]", True),
        (("xl", "restore", "/nowhere/web.save"), "pipe:[1]", True),
        (("xl", "migrate-receive"), "pipe:[1]", True),
        (("xl", "create", "/elsewhere"), "/var/log/xen/xl-web.log", True),
        (("xl", "create", "/elsewhere"), "/var/log/xen/xl-web.log.2 (deleted)", True),
        (("xl", "create", "OTHER"), "/var/log/xen/xl-web.log.2 (deleted)", True),
        (("xl", "create", "CFG"), "/var/log/xen/xl-vpn.log", False),
        (("xl", "create", "OTHER"), "pipe:[1]", False),
        (("xl", "-N", "create", "CFG"), "pipe:[1]", False),
        (("xl", "list", "-v"), "pipe:[1]", False),
        (("xl", "console", "web"), "/dev/pts/0", False),
    ],
)
async def test_who_may_start_it(  # noqa: PLR0917 # pytest passes them by name
    web: Guest, processes: FakeProcesses, cfg: str, tmp_path: Path, words: tuple[str, ...], stdout: str, found: bool
) -> None:
    (tmp_path / "other.cfg").touch()
    names = {"CFG": cfg, "OTHER": str(tmp_path / "other.cfg")}
    processes.xl(400, *(names.get(word, word) for word in words), stdout=stdout)
    processes.xl(401, "vim", "create", cfg, comm="vim")
    (processes.root / "402").mkdir()  # it ended while it was looked at
    assert (await web.observe()).level is (Level.UNKNOWN if found else Level.STANDBY)


async def test_what_somebody_else_runs_under_that_name_starts_nothing(
    web: Guest, processes: FakeProcesses, cfg: str
) -> None:
    processes.xl(400, "xl", "create", cfg, uid=65534)
    assert (await web.observe()).level is Level.STANDBY


async def test_without_its_file_it_is_known_by_what_was_seen(fake: FakeXen, web: Guest, cfg: str) -> None:
    await known(web, fake)
    Path(cfg).unlink()
    for it in (web, quick(cfg)):
        assert (await it.observe()).level is Level.ACTIVE
    fake.show(table("absent"))
    seen = await web.observe()
    assert (seen.level, seen.obstacle) == (
        Level.STANDBY,
        f"{cfg}: No such file or directory; put the domain's configuration there",
    )


async def test_without_its_file_it_may_be_any(fake: FakeXen, web: Guest, cfg: str) -> None:
    Path(cfg).unlink()
    assert (await web.observe()).level is Level.STANDBY  # there is no guest at all
    fake.show(table("running", name="other", uuid=OTHER))
    seen = await web.observe()
    assert seen.level is Level.UNKNOWN
    assert "the name of the domain is unknown" in seen.detail


@pytest.mark.parametrize(
    ("recording", "obstacle"),
    [
        (
            "dryrun-syntax-error",
            "/etc/xen/bad.cfg:1: config parsing error near `\"bad': lexical error; Failed to parse",
        ),
        ("dryrun-no-name", "Domain name must be specified."),
        ("dryrun-drbd-script", "disk drbd:web: xl would change DRBD's roles by itself; write phy:/dev/drbdN instead"),
        (
            "dryrun-on-crash-restart",
            'on_crash: xl would start again again, beside failoverd; write on_crash = "destroy"',
        ),
        ("dryrun-restarts", "on_poweroff: xl would start rename again"),
        ("dryrun-on-crash-preserve", None),
        ("dryrun-web", None),
    ],
)
async def test_what_its_file_says_may_be_in_the_way(
    fake: FakeXen, web: Guest, cfg: str, recording: str, obstacle: str | None
) -> None:
    fake.forget(f"xl -N create {cfg}")
    fake.transcript(f"xl -N create {cfg}", recording)
    seen = await web.observe()
    assert seen.level is Level.STANDBY
    assert (f"{cfg}: {obstacle}" in f"{cfg}: {seen.obstacle}") if obstacle else (seen.obstacle == "")


@pytest.mark.parametrize(
    ("actions", "event"),
    [
        ({"on_poweroff": "restart"}, "on_poweroff"),
        ({"on_watchdog": "coredump_restart"}, "on_watchdog"),
        ({"on_crash": "restart_rename"}, "on_crash"),
        ({"on_reboot": "restart_rename"}, "on_reboot"),
        ({"on_reboot": "restart", "on_soft_reset": "soft_reset"}, None),
        ({"on_reboot": "destroy", "on_crash": "coredump_destroy", "on_poweroff": "preserve"}, None),
    ],
)
def test_what_xl_must_not_do_by_itself(actions: dict[str, str], event: str | None) -> None:
    obstacle = config.Config(name="web", memory=0, actions=actions).obstacle
    assert obstacle.startswith(f"{event}: ") if event else obstacle == ""


async def test_where_xl_cannot_write_is_known_beforehand(
    fake: FakeXen, web: Guest, cfg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full.tmpfs(tmp_path / "lib") as lib:
        monkeypatch.setattr(files, "DIRECTORIES", (str(tmp_path), str(lib)))
        assert (await web.observe()).obstacle == ""
        filler = full.fill(lib)
        obstacle = (await web.observe()).obstacle
        assert obstacle.startswith(f"{lib}: xl cannot write: No space left on device; see: findmnt")
        fake.answer(f"xl create {cfg}", then=table("running"))
        with pytest.raises(Refused, match="No space left"):
            await web.activate()
        assert fake.deeds == []

        filler.unlink()
        assert (await web.observe()).obstacle == ""
        await web.activate()
        assert fake.deeds == [f"xl create {cfg}"]
        full.fill(lib)
        assert await web.observe() == Observation(level=Level.ACTIVE, detail="running (domain 7)")


async def test_a_disk_that_hangs_is_an_obstacle(web: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(room, "check", lambda _directory, _size: answers.wait())
    monkeypatch.setattr(files, "DISK_TIMEOUT_S", 0.1)
    try:
        seen = await web.observe()
        assert seen.level is Level.STANDBY
        assert seen.obstacle.endswith("one of these disks does not answer within 0.1 s")
    finally:
        answers.set()


async def test_a_number_is_no_name(fake: FakeXen, web: Guest, cfg: str) -> None:
    fake.forget(f"xl -N create {cfg}")
    fake.answer(f"xl -N create {cfg}", PLAIN.replace('"name": "web"', '"name": "7"'))
    assert "the number of a domain" in (await web.observe()).obstacle


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"c_info": 1}', PLAIN[:-5], '{"c_info": {"name": "web"}}'])
async def test_what_xl_does_not_print_is_not_believed(fake: FakeXen, web: Guest, cfg: str, text: str) -> None:
    fake.forget(f"xl -N create {cfg}")
    fake.answer(f"xl -N create {cfg}", text)
    assert "unexpected output of `xl -N create`" in (await web.observe()).obstacle


async def test_without_xen_nothing_is_known(fake: FakeXen, web: Guest, cfg: str) -> None:
    fake.forget(f"xl -N create {cfg}")
    fake.transcript(f"xl -N create {cfg}", "list-no-hypervisor")
    assert (await web.observe()).level is Level.UNKNOWN


async def test_the_file_is_read_again_when_it_changed(fake: FakeXen, web: Guest, cfg: str) -> None:
    for _ in range(2):
        await web.observe()
    assert fake.told.count(f"xl -N create {cfg}") == 1
    fake.forget(f"xl -N create {cfg}")
    fake.answer(f"xl -N create {cfg}", PLAIN.replace('"web"', '"web2"'))
    Path(cfg).write_text("name = 'web2'  # longer\n")
    fake.show(table("running", name="web2"))
    assert (await web.observe()).level is Level.ACTIVE


def test_a_view_is_shown_in_words() -> None:
    assert str(look.DomainView()) == "not there"
    assert str(look.DomainView(xl_pids=(4, 5))) == "not there; xl (pid 4, 5) is at work on it"
    assert UUID in table("running")


async def test_a_configuration_on_a_disk_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "web.cfg"
    os.mkfifo(path)  # who opens it waits for somebody who writes
    with pytest.raises(TimedOut, match="its disk does not answer within"):
        await config.File(str(path)).read(0.1)
    path.open("w").close()  # the thread goes its way
