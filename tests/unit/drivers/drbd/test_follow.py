"""Following DRBD: a drbdsetup that tells recorded events, and what is remembered of them."""

from __future__ import annotations

import asyncio
import operator
from functools import partial
from pathlib import Path

import pytest

from failoverd.drivers.drbd import follow, staleness
from failoverd.drivers.drbd.staleness import Record
from failoverd.ports.drbd import look
from failoverd.records import records
from tests.unit.drivers.drbd.conftest import Clock
from tests.unit.drivers.scripted import until, watching
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, FakeDrbd, live


def parts(path: Path) -> tuple[list[str], list[str]]:
    """A recorded stream: its first dump, and what came then."""
    lines = live(path)
    end = lines.index("exists -") + 1
    return lines[:end], lines[end:]


async def test_changes_are_told_by_name(fake: FakeDrbd) -> None:
    dump, changes = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        for line in changes:
            fake.change(line)
        await until(lambda: {"vpn", "web"} <= set(changed))
        assert fake.told == ["events2"]
        assert changed.count(None) == 1


async def test_noise_is_no_change(fake: FakeDrbd) -> None:
    dump, _ = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    peer = "name:vpn peer-node-id:0 conn-name:left"
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        fake.change(f"change peer-device {peer} volume:0", f"call helper {peer} helper:disconnected")
        fake.change(f"change peer-device {peer} volume:0 done:47.5")
        fake.change("change resource name:web role:Primary")
        await until(lambda: "web" in changed)
        assert changed == [None, "web"]


async def test_the_bell_rings_for_who_waits(fake: FakeDrbd) -> None:
    dump, _ = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        with follow.notifier.listening("vpn") as mine, follow.notifier.listening("web") as others:
            fake.change("change resource name:vpn role:Primary")
            await asyncio.wait_for(mine, 20)
            assert not others.done()


async def test_a_stream_that_ends_is_begun_again_and_all_may_have_changed(fake: FakeDrbd) -> None:
    dump, _ = parts(NINE / "live-events2/promote-demote.right.txt")
    async with watching(follow.watch) as changed:
        await until(lambda: len(fake.told) > 2)
        assert set(changed) == {None}
        before = len(changed)
        fake.begin(dump)
        await until(lambda: len(changed) > before)
        fake.change("change resource name:vpn role:Primary")
        await until(lambda: "vpn" in changed)


async def test_the_role_of_each_minor_of_eight_is_looked_up_since_it_makes_no_event(fake: FakeDrbd) -> None:
    minors = (" 0: cs:WFConnection ro:Primary/Unknown", " 7: cs:WFConnection ro:Secondary/Unknown")
    look.PROC.write_text("\n".join(["version: 8.4.11 (api:1/proto:86-101)", *minors, ""]))
    dump, _ = parts(EIGHT / "live-events2/promote-demote.left.txt")
    fake.begin([*dump[:-1], "exists device name:vpn volume:1 minor:7 disk:UpToDate", dump[-1]])
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        fake.change("change resource name:vpn role:Primary")
        await until(lambda: "vpn" in changed)
        half = follow.notifier.view("vpn")
        assert half is not None
        assert (half.role, half.primary) == ("Primary", False)
        look.PROC.write_text(look.PROC.read_text().replace("ro:Secondary", "ro:Primary"))
        whole = follow.notifier.view("vpn")
        assert whole is not None
        assert whole.primary


@pytest.mark.parametrize(
    "line", ["\x01\x02", "- skipped 7", "change device name:vpn volume:9 disk:UpToDate", "exists -"]
)
async def test_a_stream_that_is_not_understood_is_begun_again(fake: FakeDrbd, line: str) -> None:
    dump, _ = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        fake.change(line)
        await until(lambda: changed[:3] == [None, None, None] and len(fake.told) > 1)  # the end, and the next dump
        fake.change("change resource name:vpn role:Primary")
        await until(lambda: "vpn" in changed)


async def test_without_the_module_nothing_is_started(fake: FakeDrbd) -> None:
    page = look.PROC.read_text()
    look.PROC.unlink()
    dump, _ = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert fake.told == []
        look.PROC.write_text(page)
        await until(lambda: changed == [None])


async def test_a_stream_that_says_nothing_is_given_up(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST_DUMP_TIMEOUT_S", 0.1)
    fake.begin([])
    async with watching(follow.watch):
        await until(lambda: len(fake.told) > 1)


async def test_the_loss_of_the_primary_is_remembered(fake: FakeDrbd, clock: Clock) -> None:
    dump, changes = parts(EIGHT / "live-events2/left-killed.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        assert staleness.load("web").primary == (0, "peer")
        clock.now = 1004
        fake.change(*[line for line in changes if " name:web " in line][:3])
        await until(lambda: "web" in changed)
        loss = staleness.load("web").loss
        assert loss is not None
        assert loss.since == 1004
        assert staleness.load("vpn").loss is None
        clock.now = 1070
        fake.change("change resource name:web role:Primary")
        await until(lambda: staleness.load("web").loss is None)


async def test_a_loss_while_nobody_followed_is_as_old_as_the_last_sight(fake: FakeDrbd, clock: Clock) -> None:
    dump, _ = parts(EIGHT / "live-events2/left-killed.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
    fake.end()
    clock.now = 1300
    fake.begin((EIGHT / "left-killed/right.events2-now.txt").read_text().splitlines())
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
    loss = staleness.load("web").loss
    assert loss is not None
    assert loss.since == 1000
    clock.now = 1400
    async with watching(follow.watch) as changed:  # and once more: nothing is reset
        await until(lambda: changed == [None])
    assert staleness.load("web").loss == loss


async def test_a_resource_that_went_down_while_nobody_followed(fake: FakeDrbd, clock: Clock) -> None:
    staleness.save("web", Record(at=900, up=1, met=frozenset({0}), primary=(0, "peer")))
    fake.begin(["exists -"])
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
    record = staleness.load("web")
    assert record.loss is not None
    assert (record.up, record.loss.since) == (None, 900)
    del clock


async def test_a_quiet_stream_is_known_to_be_there(
    fake: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PULSE_INTERVAL_S", 0.05)
    dump, _ = parts(EIGHT / "live-events2/left-killed.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        clock.now = 1000.08
        await until(lambda: staleness.heard(staleness.load("web")) == 1000.08)
        monkeypatch.setattr(follow, "PULSE_INTERVAL_S", 600)
        clock.now = 1000.2
        await until(lambda: staleness.heard(staleness.load("web")) == 1000.2)
        # A daemon that was stopped: what it reads now may have happened long ago.
        clock.now = 5000
        fake.change("change connection name:web peer-node-id:0 conn-name:peer connection:NetworkFailure role:Unknown")
        await until(lambda: "web" in changed)
    loss = staleness.load("web").loss
    assert loss is not None
    assert loss.since == 1000.2


async def test_frozen_io_is_looked_at_again_for_as_long_as_it_is_frozen(
    fake: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PULSE_INTERVAL_S", 0.05)
    monkeypatch.setattr(follow, "PULSE_TOLERANCE_S", 1000)
    dump, _ = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        fake.change("change resource name:web role:Primary suspended:fencing")
        await until(lambda: changed == [None, "web"])
        for looks in (2, 3):
            clock.now += follow.FROZEN_RECHECK_S
            await until(partial(operator.eq, changed, [None, *["web"] * looks]))
        fake.change("change resource name:web role:Primary suspended:no")
        await until(lambda: changed.count("web") == 4)
        clock.now += 2 * follow.FROZEN_RECHECK_S
        fake.change("change resource name:vpn role:Primary")
        await until(lambda: "vpn" in changed)
        assert changed == [None, *["web"] * 4, "vpn"]


async def test_a_primary_that_came_and_went_while_the_daemon_was_stopped(fake: FakeDrbd, clock: Clock) -> None:
    dump, _ = parts(EIGHT / "live-events2/left-killed.right.txt")
    fake.begin([line.replace("role:Primary", "role:Secondary") for line in dump])
    peer = "change connection name:web peer-node-id:0 conn-name:peer"
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        assert staleness.load("web").primary is None
        clock.now = 5000
        fake.change(f"{peer} role:Primary", f"{peer} connection:NetworkFailure role:Unknown")
        await until(lambda: changed.count("web") == 2)
    loss = staleness.load("web").loss
    assert loss is not None
    assert loss.since == 1000


async def test_a_primary_that_demotes_itself_and_leaves_at_once_is_not_lost(fake: FakeDrbd) -> None:
    dump, _ = parts(EIGHT / "live-events2/left-killed.right.txt")
    fake.begin(dump)
    peer = "change connection name:web peer-node-id:0 conn-name:peer"
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        assert staleness.load("web").primary == (0, "peer")
        fake.change(f"{peer} role:Secondary", f"{peer} connection:TearDown role:Unknown")
        await until(lambda: changed.count("web") == 2)
    assert staleness.load("web").loss is None


async def test_a_directory_that_is_not_there_does_not_stop_it(
    fake: FakeDrbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(records, "directory", tmp_path / "file")
    dump, changes = parts(NINE / "live-events2/promote-demote.right.txt")
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        fake.change(*changes)
        await until(lambda: {"vpn", "web"} <= set(changed))


@pytest.mark.parametrize("path", sorted(NINE.parent.glob("*/live-events2/*")), ids=lambda path: path.name)
async def test_every_recorded_stream_is_followed(fake: FakeDrbd, path: Path) -> None:
    dump, changes = parts(path)
    fake.begin(dump)
    async with watching(follow.watch) as changed:
        await until(lambda: changed == [None])
        skipped = [line for line in changes if line.startswith("- skipped")]
        fake.change(*changes, "create resource name:end role:Secondary suspended:no")
        await until((lambda: len(fake.told) > 1) if skipped else (lambda: "end" in changed))
