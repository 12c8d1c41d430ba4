"""When it is made Primary, with a drbdsetup that says what was recorded and fails on what it was not told."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import failoverd
from failoverd.core.words import Level, Verb
from failoverd.drivers.drbd import driver as acting
from failoverd.drivers.drbd import follow
from failoverd.ports import command
from failoverd.ports.drbd import look
from failoverd.ports.errors import DriverError, Hung, Refused, TimedOut
from tests.unit.drivers.drbd.conftest import Clock
from tests.unit.drivers.drbd.drbds import PRIMARY_8, PRIMARY_9, SHOW, SPEC, actions, behind, make, over_when
from tests.unit.drivers.scripted import until, watching
from tests.unit.ports.drbd.drbdsetups import EIGHT, EVENTS, NINE, STATUS, FakeDrbd, eight, live


def halves(fake: FakeDrbd, first: str, second: str, disk: str = "UpToDate") -> None:
    """DRBD 8.4, and a resource with two volumes, their minors 0 and 7 in these roles. It tells of the highest."""
    eight(EIGHT / "all-fine", "left")
    page = look.PROC.read_text()
    line = next(line for line in page.splitlines() if line.startswith(" 0: "))
    pages = [
        line.replace("ro:Secondary/", f"ro:{role}/").replace(" 0:", f" {n}:", 1)
        for n, role in ((0, first), (7, second))
    ]
    look.PROC.write_text("\n".join([page.splitlines()[0], *pages, ""]))
    dump = (EIGHT / "all-fine/left.events2-now.txt").read_text().rstrip()
    if "Primary" in (first, second):
        dump = dump.replace("name:vpn role:Secondary", "name:vpn role:Primary")
    more = (
        f"exists device name:vpn volume:1 minor:7 disk:{disk}",
        "exists peer-device name:vpn peer-node-id:0 volume:1 replication:Established peer-disk:UpToDate",
    )
    fake.answer(EVENTS, dump.replace("exists -", "\n".join([*more, "exists -"])))


async def test_nine_is_promoted_by_name(fake: FakeDrbd) -> None:
    fake.state(NINE / "all-fine", "left")
    fake.transcript(PRIMARY_9, NINE / "primary-on-left/left.cmd.primary.txt")
    driver = make()
    await driver.observe()
    with command.recording() as texts:
        assert await driver.activate() is None
    assert texts[-1:] == list(driver.commands(Verb.ACTIVATE)) == ["drbdsetup primary vpn"]
    assert driver.commands(Verb.DEACTIVATE) == ("drbdsetup secondary vpn",)


async def test_eight_is_promoted_by_minor(fake: FakeDrbd) -> None:
    eight(EIGHT / "all-fine", "right")
    fake.state(EIGHT / "all-fine", "right", "web")
    fake.transcript("primary 1", EIGHT / "primary-on-left/left.cmd.drbdsetup-primary-already.txt")
    driver = make(resource="web")
    await driver.activate()
    assert actions(fake) == ["primary 1"]
    assert driver.commands(Verb.ACTIVATE) == ("drbdsetup primary 1",)


async def test_every_volume_of_eight(fake: FakeDrbd) -> None:
    halves(fake, "Primary", "Primary")
    fake.answer("secondary 0")
    fake.answer("secondary 7")
    await make().deactivate()
    assert sorted(actions(fake)) == ["secondary 0", "secondary 7"]


async def test_half_a_promotion_of_eight_is_none(fake: FakeDrbd) -> None:
    """`drbdsetup primary` of one of two minors, and then DRBD calls the resource Primary."""
    halves(fake, "Primary", "Secondary")
    driver = make()
    seen = await driver.observe()
    assert seen.level is Level.FAILED
    assert seen.detail.startswith("Primary, but not all of it: volume 1 is Secondary; peer is Secondary")
    fake.answer(PRIMARY_8)
    fake.answer("primary 7")
    await driver.activate()
    assert actions(fake) == [PRIMARY_8, "primary 7"]


async def test_half_a_promotion_is_held_to_all_that_a_whole_one_is(fake: FakeDrbd) -> None:
    halves(fake, "Primary", "Secondary", disk="Outdated")
    with pytest.raises(Refused, match=r"Outdated \(volume 1\), not UpToDate"):
        await make().activate()
    assert actions(fake) == []


async def test_half_a_promotion_is_undone_in_every_minor(fake: FakeDrbd) -> None:
    halves(fake, "Secondary", "Primary")
    for minor in (0, 7):
        fake.transcript(f"secondary {minor}", EIGHT / "device-open-write/left.cmd.drbdsetup-secondary.txt")
        fake.answer(f"secondary {minor}")
    await make(replace(SPEC, stop_timeout=30)).deactivate()
    assert sorted(actions(fake)) == ["secondary 0"] * 2 + ["secondary 7"] * 2


async def test_a_minor_whose_demotion_fails_keeps_no_other_from_its_own(fake: FakeDrbd) -> None:
    halves(fake, "Primary", "Primary")
    fake.script("secondary 0", "exit 20")
    fake.answer("secondary 7")
    with pytest.raises(DriverError, match="drbdsetup secondary 0: exit status 20"):
        await make().deactivate()
    assert sorted(actions(fake)) == ["secondary 0", "secondary 7"]


@pytest.mark.parametrize("page", ["", " 7: cs:Unconfigured\n"])
async def test_a_minor_whose_role_is_not_told_makes_nothing_active(fake: FakeDrbd, page: str) -> None:
    halves(fake, "Primary", "Primary")
    whole = look.PROC.read_text()
    look.PROC.write_text(whole[: whole.index(" 7: cs:")] + page)
    driver = make()
    assert (await driver.observe()).level is Level.UNKNOWN
    fake.answer(PRIMARY_8)
    fake.answer("primary 7")
    await driver.activate()
    assert actions(fake) == [PRIMARY_8, "primary 7"]


def test_commands_before_anything_was_seen() -> None:
    assert make().commands(Verb.ACTIVATE) == ("drbdadm primary vpn",)
    assert make().commands(Verb.DEACTIVATE) == ("drbdadm secondary vpn",)


async def test_primary_already(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    await make().activate()
    assert actions(fake) == []


@pytest.mark.parametrize(
    ("state", "node", "words"),
    [
        (NINE / "all-inconsistent", "left", behind("Inconsistent")),
        (NINE / "all-diskless", "left", behind("Diskless")),
        (
            NINE / "right-disconnected-from-left-only",
            "right",
            behind("Outdated"),
        ),
        (EIGHT / "outdated", "right", behind("Outdated")),
        (EIGHT / "detached", "right", behind("Diskless")),
    ],
)
async def test_refused_at_once(fake: FakeDrbd, state: Path, node: str, words: str) -> None:
    if state.parent == EIGHT:
        eight(state, node)
    fake.state(state, node)
    driver = make(replace(SPEC, timeout=600))
    with pytest.raises(Refused) as refused:
        await driver.activate()
    assert refused.value.reason == words
    assert actions(fake) == []
    assert (await driver.observe()).obstacle == words  # and is tried again when that is different


async def test_refused_when_it_is_not_up(fake: FakeDrbd) -> None:
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    with pytest.raises(Refused, match="vpn is not up here; drbdadm up vpn"):
        await make().activate()


async def test_what_is_not_up_yet_after_a_boot_is_awaited(fake: FakeDrbd, clock: Clock) -> None:
    clock.now = acting.BOOT_PERIOD_S - 100
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    fake.transcript(PRIMARY_9, NINE / "primary-on-left/left.cmd.primary.txt")
    activation = asyncio.ensure_future(make(replace(SPEC, timeout=600)).activate())
    await until(lambda: len(fake.told) > 1)
    assert not activation.done()
    fake.state(NINE / "all-fine", "left")
    await activation
    assert actions(fake) == [PRIMARY_9]


async def test_what_does_not_come_up_after_a_boot_is_refused_in_the_end(fake: FakeDrbd, clock: Clock) -> None:
    clock.now = acting.BOOT_PERIOD_S - 100
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    with pytest.raises(Refused, match="vpn is not up here; drbdadm up vpn"):
        await make().activate()
    assert len(fake.told) > 1


async def test_a_state_that_cannot_be_seen_is_no_refusal(fake: FakeDrbd) -> None:
    fake.script(STATUS, "exit 20")
    with pytest.raises(DriverError) as error:
        await make().activate()
    assert not isinstance(error.value, Refused)
    assert actions(fake) == []


async def test_a_primary_that_stays_is_a_refusal_in_the_end(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "right")
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.transcript(PRIMARY_9, NINE / "primary-on-left/right.cmd.primary-peer-is-primary.txt")
    with pytest.raises(Refused) as refused:
        await make().activate()
    assert refused.value.reason == (
        "waited until the timeout: left is connected and Primary "
        "(DRBD: vpn: State change failed: (-1) Multiple primaries not allowed by config)"
    )
    assert set(actions(fake)) == {"primary vpn"}


async def test_where_there_is_a_quorum_a_primary_that_is_dead_is_found_out_by_asking(fake: FakeDrbd) -> None:
    """As DRBD does in 1.5 s, when by itself it would miss the other one only after 10 s."""
    fake.state(NINE / "left-killed-before-timeout", "right")
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.transcript(PRIMARY_9, NINE / "left-killed-promote-at-once/right.cmd.primary.txt")
    await make().activate()
    assert actions(fake) == [PRIMARY_9]


async def test_without_quorum_a_living_primary_is_never_taken_for_dead_by_asking(fake: FakeDrbd) -> None:
    eight(EIGHT / "primary-on-left", "right")
    fake.state(EIGHT / "primary-on-left", "right")
    fake.answer(SHOW, "resource vpn {\n}")
    with pytest.raises(Refused, match="waited until the timeout: peer is connected and Primary"):
        await make().activate()
    assert actions(fake) == []


async def test_without_quorum_a_primary_that_was_lost_has_a_moment_to_come_back(fake: FakeDrbd, clock: Clock) -> None:
    eight(EIGHT / "primary-on-left", "right")
    fake.answer(EVENTS, (EIGHT / "primary-on-left/right.events2-now.txt").read_text().rstrip())
    gone = (EIGHT / "left-killed/right.events2-now.txt").read_text().rstrip()
    fake.answer(EVENTS, gone.replace("role:Primary", "role:Secondary"))
    fake.answer(SHOW, "resource vpn {\n}")
    fake.answer(PRIMARY_8)
    task = asyncio.create_task(make(replace(SPEC, timeout=600)).activate())
    async with asyncio.timeout(60):
        while fake.told.count(EVENTS) < 5:  # it looks again and again, and does nothing
            await asyncio.sleep(0.01)
        assert actions(fake) == []
        clock.now += 3
        await task
    assert actions(fake) == [PRIMARY_8]


@pytest.mark.parametrize("others", [("left",), ("left", "third")])
async def test_a_lost_primary_that_vouches_for_itself_is_not_waited_for(
    fake: FakeDrbd, clock: Clock, others: tuple[str, ...]
) -> None:
    """As soon as it does. DRBD 8.4 does not tell its name, so with two other nodes nobody knows who vouches."""
    eight(EIGHT / "primary-on-left", "right")
    fake.answer(EVENTS, (EIGHT / "primary-on-left/right.events2-now.txt").read_text().rstrip())
    gone = (EIGHT / "left-killed/right.events2-now.txt").read_text().rstrip()
    fake.answer(EVENTS, gone.replace("role:Primary", "role:Secondary"))
    fake.answer(SHOW, "resource vpn {\n}")
    fake.answer(PRIMARY_8)
    vouched = {"left": clock.now}  # said before it was lost
    driver = make(replace(SPEC, timeout=600, others=others))
    driver.listen(lambda: vouched, dict)
    task = asyncio.create_task(driver.activate())

    async def until_it_has_looked_more_often() -> None:
        before = fake.told.count(EVENTS)
        while fake.told.count(EVENTS) < before + 2:
            driver.heard()
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60):
        while fake.told.count(EVENTS) < 5:
            await asyncio.sleep(0.01)
        assert actions(fake) == []
        vouched["left"] = clock.now + 0.1
        if len(others) > 1:
            await until_it_has_looked_more_often()
            assert actions(fake) == []
            clock.now += 3
        driver.heard()
        await task
    assert actions(fake) == [PRIMARY_8]
    fake.answer(EVENTS, gone)
    said = "did not wait 3 s more for the lost Primary (peer), which has said by the heartbeat that it is Secondary"
    assert (said in (await driver.observe()).detail) is (len(others) == 1), "the history has it with the step"
    assert said not in (await driver.observe()).detail


@pytest.mark.parametrize(
    "show", ["  net { allow-two-primaries yes; }", "  net {\n    allow-two-primaries\tyes;\n  }", None]
)
async def test_where_two_may_be_primary_nobody_is_asked(fake: FakeDrbd, show: str | None) -> None:
    fake.state(NINE / "primary-on-left", "right")
    shown = f"resource vpn {{\noptions {{\nquorum majority;\n}}\n{show}\n}}"
    fake.answer(SHOW, shown.replace("net { ", "net {\n"), code=0 if show else 10)
    with pytest.raises(Refused, match="waited until the timeout: left is connected and Primary"):
        await make().activate()
    assert actions(fake) == []


async def test_a_peer_that_is_just_demoting_is_waited_for(fake: FakeDrbd) -> None:
    fake.answer(STATUS, (NINE / "primary-on-left/right.status.json").read_text())
    fake.answer(STATUS, (NINE / "all-fine/right.status.json").read_text())
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.transcript(PRIMARY_9, NINE / "primary-on-left/right.cmd.primary-peer-is-primary.txt")
    fake.answer(PRIMARY_9)
    await make(replace(SPEC, timeout=30)).activate()
    assert actions(fake) == [PRIMARY_9, PRIMARY_9]


async def test_the_bell_ends_the_wait(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "RECHECK_INTERVAL_S", 600)
    fake.state(NINE / "primary-on-left", "right")
    fake.answer(SHOW, "net {\nallow-two-primaries yes;\n}")
    fake.answer(PRIMARY_9)
    task = asyncio.create_task(make(replace(SPEC, timeout=600)).activate())
    while SHOW not in fake.told:
        await asyncio.sleep(0.01)
    fake.state(NINE / "all-fine", "right")
    async with asyncio.timeout(60):
        while not task.done():
            follow.notifier.ring("vpn")
            await asyncio.sleep(0.05)
    assert actions(fake) == [PRIMARY_9]


@pytest.mark.parametrize(
    "transcript",
    [
        NINE / "device-open-read/right.cmd.primary-while-peer-secondary-has-reader.txt",
        NINE / "primary-on-left/right.cmd.primary-peer-is-primary.txt",
    ],
)
async def test_a_denial_that_passes(fake: FakeDrbd, transcript: Path) -> None:
    fake.state(NINE / "all-fine", "right")
    fake.transcript(PRIMARY_9, transcript)
    fake.transcript(PRIMARY_9, transcript)
    fake.answer(PRIMARY_9)
    await make(replace(SPEC, timeout=30)).activate()
    assert len(actions(fake)) == 3


async def test_a_denial_that_stays_is_a_failure_in_its_own_words(fake: FakeDrbd) -> None:
    fake.state(NINE / "all-fine", "right")
    fake.transcript(PRIMARY_9, NINE / "device-open-read/right.cmd.primary-while-peer-secondary-has-reader.txt")
    with pytest.raises(DriverError, match=r"refused by peer node: Declined by peer left \(id: 0\)") as error:
        await make().activate()
    assert not isinstance(error.value, Refused)


@pytest.mark.parametrize(
    ("transcript", "words"),
    [
        (
            NINE / "isolated-secondary-right/right.cmd.primary-before-timeout.txt",
            "No quorum: 1 of 3 nodes visible, need 2",
        ),
        (NINE / "outdated/right.cmd.primary-web.txt", "Need access to UpToDate data"),
    ],
)
async def test_what_would_be_unsafe_is_a_refusal(fake: FakeDrbd, transcript: Path, words: str) -> None:
    fake.state(NINE / "all-fine", "right")
    fake.transcript(PRIMARY_9, transcript)
    with pytest.raises(Refused, match=words):
        await make().activate()


async def test_the_quorum_that_is_missed_by_asking(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    over_when(monkeypatch, lambda: fake.told.count(STATUS) > 1)
    fake.answer(STATUS, (NINE / "all-fine/right.status.json").read_text())
    fake.answer(STATUS, (NINE / "isolated-secondary-right/right.status.json").read_text())
    fake.transcript(PRIMARY_9, NINE / "isolated-secondary-right/right.cmd.primary-before-timeout.txt")
    with pytest.raises(
        Refused, match=r"waited until the timeout: no quorum: too few .* \(DRBD: .*1 of 3 nodes visible.*"
    ):
        await make().activate()


async def test_a_primary_without_quorum_is_refused_when_the_grace_is_over(fake: FakeDrbd) -> None:
    fake.state(NINE / "left-isolated", "left")
    with pytest.raises(Refused, match=r"^it is Primary here, but without quorum$"):
        await make(replace(SPEC, timeout=10_000), reconnect_grace=0.01).activate()
    assert actions(fake) == []


@pytest.mark.parametrize(("state", "node"), [("isolated-secondary-right", "right"), ("left-back-resync", "left")])
async def test_what_the_network_brings_back_is_waited_for(fake: FakeDrbd, state: str, node: str) -> None:
    """All three nodes lost quorum at once, or this one is being synchronised: seconds later one may serve."""
    fake.answer(STATUS, (NINE / state / f"{node}.status.json").read_text())
    fake.answer(STATUS, (NINE / f"all-fine/{node}.status.json").read_text())
    fake.answer(PRIMARY_9)
    await make(replace(SPEC, timeout=30)).activate()
    assert actions(fake) == [PRIMARY_9]


async def test_trouble_with_the_tool_is_told_at_once(fake: FakeDrbd) -> None:
    fake.state(NINE / "all-fine", "right")
    fake.transcript(PRIMARY_9, NINE / "misc/center.cmd.primary-as-nobody.txt")
    with pytest.raises(DriverError, match="drbdsetup primary vpn: vpn: Operation not permitted"):
        await make(replace(SPEC, timeout=600)).activate()


#: What makes DRBD give up data, or a protection of it.
FORCED = frozenset(
    {
        "create-md",
        "discard-my-data",
        "force",
        "invalidate",
        "invalidate-remote",
        "new-current-uuid",
        "overwrite-data-of-peer",
        "wipe-md",
    }
)


async def test_never_by_force(fake: FakeDrbd) -> None:
    for module in Path(failoverd.__file__).parent.rglob("*.py"):
        words = [node.value for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Constant)]
        assert not [word for word in words if isinstance(word, str) and word.lstrip("-") in FORCED]
    fake.state(NINE / "isolated-secondary-right", "right")
    with pytest.raises(Refused):
        await make().activate()
    assert not [line for line in fake.told if "force" in line]


async def test_a_consistent_disk_is_for_drbd_to_decide(fake: FakeDrbd) -> None:
    status = (NINE / "left-killed/right.status.json").read_text()
    fake.answer(STATUS, status.replace('"disk-state": "UpToDate"', '"disk-state": "Consistent"'))
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    fake.answer(PRIMARY_9)
    await make().activate()
    assert actions(fake) == [PRIMARY_9]


async def test_a_disk_that_is_being_attached_is_waited_for(fake: FakeDrbd) -> None:
    fake.answer(STATUS, (NINE / "attach-stuck-negotiating/left.status.json").read_text())
    fake.answer(STATUS, (NINE / "all-fine/left.status.json").read_text())
    fake.answer(PRIMARY_9)
    await make(replace(SPEC, timeout=30)).activate()
    assert actions(fake) == [PRIMARY_9]


async def test_cancelled_at_the_deadline_when_the_tool_hangs(fake: FakeDrbd, tmp_path: Path) -> None:
    fake.state(NINE / "all-fine", "right")
    told = tmp_path / "pid"
    fake.script(PRIMARY_9, f"trap '' TERM; echo $$ >{told}; sleep 600 & wait")
    activation = asyncio.create_task(make().activate())
    await until(lambda: told.exists() and told.read_text())
    activation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await activation
    assert not Path(f"/proc/{told.read_text().strip()}").exists()


async def test_a_tool_in_d_state_is_hung(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("failoverd.ports.process.LADDER", ((signal.SIGTERM, 0.05), (signal.SIGWINCH, 0.05)))
    told = tmp_path / "pid"
    fake.state(NINE / "all-fine", "right")
    fake.script(PRIMARY_9, f"trap '' TERM; echo $$ >{told}; while :; do sleep 0.1; done")
    activation = asyncio.create_task(make().activate())
    await until(lambda: told.exists() and told.read_text())
    activation.cancel()
    with pytest.raises(Hung, match="drbdsetup primary vpn"):
        await activation
    os.kill(int(told.read_text()), signal.SIGKILL)


async def test_a_tool_whose_child_holds_the_pipe_has_ended(fake: FakeDrbd, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    fake.state(NINE / "all-fine", "right")
    fake.script(PRIMARY_9, f"sleep 600 & echo $! >{told}; exit 0")
    await make().activate()
    os.kill(int(told.read_text()), signal.SIGKILL)


async def test_a_look_that_hangs_ends_the_activation(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "DRBDSETUP_TIMEOUT_S", 0.2)
    fake.script(STATUS, "exec sleep 600")
    with pytest.raises(TimedOut):
        await make().activate()


async def test_a_resource_that_has_just_come_up_meets_the_others_first(fake: FakeDrbd, clock: Clock) -> None:
    eight(EIGHT / "left-killed", "right")
    fake.state(EIGHT / "left-killed", "right", "web")
    driver = make(resource="web", connect_grace=15)
    with pytest.raises(
        Refused, match="waited until the timeout: it has just come up and has not connected to peer yet"
    ):
        await driver.activate()
    assert actions(fake) == []
    assert "just come up" in (await driver.observe()).obstacle
    clock.now += 15
    assert (await driver.observe()).obstacle == ""
    fake.answer("primary 1")
    await driver.activate()
    assert actions(fake) == ["primary 1"]


async def test_once_it_has_met_them_it_need_not_wait(fake: FakeDrbd, clock: Clock) -> None:
    del clock
    eight(EIGHT / "left-killed", "right")
    fake.script("events2 --now web", f"cat {EIGHT / 'left-killed/right.events2-now.txt'}")
    fake.script("events2 --now web", f"cat {EIGHT / 'all-fine/right.events2-now.txt'}")
    fake.answer("primary 1")
    await make(replace(SPEC, timeout=30), resource="web", connect_grace=15).activate()
    assert actions(fake) == ["primary 1"]


def followed(fake: FakeDrbd, *changes: str) -> None:
    """A stream of events, in which DRBD tells of the promotion with these lines."""
    stream = live(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(stream[: stream.index("exists -") + 1])
    fake.state(NINE / "all-fine", "right")
    fake.script(PRIMARY_9, "\n".join(f"echo '{line}' >>../changes" for line in changes))


async def test_what_it_has_become_is_taken_from_drbds_events(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "ROLE_EVENT_TIMEOUT_S", 30.0)
    followed(fake, "change resource name:vpn role:Primary")
    driver = make()
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        await driver.activate()
        asked = len(fake.told)
        seen = await driver.observe()
        assert (seen.level, seen.detail.split(",")[0]) == (Level.ACTIVE, "Primary")
        assert len(fake.told) == asked
        assert (await driver.observe()).level is Level.STANDBY  # from then on it looks again
        assert fake.told[asked:] == [STATUS]


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("change device name:vpn volume:0 minor:0 disk:Outdated", "change resource name:vpn role:Primary"),
        ("change resource name:web role:Primary",),
    ],
    ids=["nothing", "Outdated", "of another"],
)
async def test_what_drbds_events_do_not_say_is_looked_at(
    fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    monkeypatch.setattr(acting, "ROLE_EVENT_TIMEOUT_S", 0.1)
    followed(fake, *changes)
    driver = make()
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        await driver.activate()
        asked = len(fake.told)
        assert (await driver.observe()).level is Level.STANDBY
        assert fake.told[asked:] == [STATUS]


async def test_what_drbds_events_said_before_is_not_what_it_has_become(
    fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "ROLE_EVENT_TIMEOUT_S", 0.1)
    followed(fake)
    driver = make()
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        fake.change("change resource name:vpn role:Primary")
        await until(lambda: "vpn" in changed)
        await driver.activate()
        asked = len(fake.told)
        assert (await driver.observe()).level is Level.STANDBY
        assert fake.told[asked:] == [STATUS]
