"""What an observation says, with a drbdsetup that says what was recorded and fails on what it was not told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from failoverd import drivers
from failoverd.core.resource import Observation
from failoverd.core.words import Level
from failoverd.drivers import drbd
from failoverd.drivers.drbd import follow
from failoverd.drivers.drbd.driver import FROZEN_ALARM_S
from failoverd.ports.drbd import look
from failoverd.ports.drbd.events import Fold
from failoverd.ports.errors import InUse
from tests.unit.drivers.drbd.conftest import Clock
from tests.unit.drivers.drbd.drbds import PRIMARY_9, SHOW, SPEC, make, refused
from tests.unit.ports.drbd.drbdsetups import EIGHT, EVENTS, NINE, STATUS, FakeDrbd, eight


async def test_observe_nine(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    seen = await make().observe()
    assert seen == Observation(
        level=Level.ACTIVE, detail="Primary, UpToDate; right is Secondary, UpToDate; center is Secondary, UpToDate"
    )
    assert fake.told == [STATUS]


async def test_it_says_where_it_is_seen_inactive(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    seen = await make(replace(SPEC, others=("right", "center"))).observe()
    assert seen.inactive_on == {"right", "center"}


async def test_observe_eight(fake: FakeDrbd) -> None:
    eight(EIGHT / "left-back-resync", "left")
    fake.state(EIGHT / "left-back-resync", "left")
    seen = await make().observe()
    assert seen.level is Level.STANDBY
    assert seen.detail == "Secondary, Inconsistent; peer is Primary, UpToDate, synchronises from peer: 23 %"
    assert seen.obstacle == "the data here is Inconsistent, not UpToDate"
    assert fake.told == [EVENTS]


async def test_a_primary_without_quorum_is_not_active(fake: FakeDrbd) -> None:
    fake.state(NINE / "left-isolated", "left")
    seen = await make().observe()
    assert (seen.level, seen.obstacle) == (Level.FAILED, "it is Primary here, but without quorum")


async def test_split_brain_is_an_alarm(fake: FakeDrbd) -> None:
    eight(EIGHT / "split-brain", "left")
    fake.state(EIGHT / "split-brain", "left")
    seen = await make().observe()
    assert seen.level is Level.ACTIVE
    assert seen.alarm is not None
    assert seen.alarm.startswith("DRBD has given up the connection to peer (StandAlone)")


async def test_io_that_stays_frozen_is_an_alarm(fake: FakeDrbd, clock: Clock) -> None:
    eight(EIGHT / "left-isolated", "left")
    thawed = (EIGHT / "left-isolated/left.events2-now.txt").read_text()
    fake.rescript(EVENTS, f"cat <<'END'\n{thawed.replace('suspended:no', 'suspended:fencing')}END")
    driver = make()
    seen = await driver.observe()
    assert (seen.level, seen.alarm, seen.stalled) == (Level.ACTIVE, None, False)
    clock.now += FROZEN_ALARM_S
    seen = await driver.observe()
    assert (seen.level, seen.stalled) == (Level.ACTIVE, True)
    assert seen.alarm == (
        "DRBD has frozen the I/O since it lost peer, and its handler fence-peer cannot say that peer is off or at "
        "standby (journalctl -t failoverd-fence-peer): bring peer back, or switch it off and then run "
        "drbdadm resume-io vpn"
    )

    fake.rescript(EVENTS, f"cat <<'END'\n{thawed}END")
    assert (await driver.observe()).alarm is None
    fake.rescript(EVENTS, f"cat <<'END'\n{thawed.replace('suspended:no', 'suspended:fencing')}END")
    assert (await driver.observe()).alarm is None


async def test_frozen_io_is_not_stalled_while_the_handler_runs(
    fake: FakeDrbd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight(EIGHT / "left-isolated", "left")
    frozen = (EIGHT / "left-isolated/left.events2-now.txt").read_text().replace("suspended:no", "suspended:fencing")
    fake.rescript(EVENTS, f"cat <<'END'\n{frozen}END")
    fold = Fold()
    monkeypatch.setattr(follow.notifier, "fold", fold)
    helper = "helper name:vpn peer-node-id:0 conn-name:peer"
    fold.take(f"call {helper} helper:fence-peer")
    fold.take("call helper name:web peer-node-id:0 conn-name:peer helper:fence-peer")
    driver = make()
    await driver.observe()
    clock.now += FROZEN_ALARM_S
    seen = await driver.observe()
    assert (seen.alarm is not None, seen.stalled) == (True, False)
    fold.take(f"response {helper} helper:disconnected status:0")
    assert not (await driver.observe()).stalled
    fold.take(f"response {helper} helper:fence-peer status:1")
    assert (await driver.observe()).stalled


async def test_a_sound_node_is_told_apart_from_the_one_that_was_cut_off(fake: FakeDrbd) -> None:
    fake.state(NINE / "left-rejoins-both-primary", "center")
    fake.transcript(SHOW, NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt")
    seen = await make().observe()
    assert seen.alarm is not None
    assert "this node has quorum" in seen.alarm
    assert (seen.level, seen.obstacle) == (Level.STANDBY, "")


async def test_a_tiebreaker_needs_no_attention_and_does_not_serve(fake: FakeDrbd) -> None:
    fake.state(NINE / "web9-primary-on-left", "center", "web9")
    driver = make(resource="web9")
    seen = await driver.observe()
    assert (seen.level, seen.alarm, seen.obstacle) == (Level.STANDBY, None, "")
    reason = await refused(driver)
    assert reason.startswith("this node has no disk, as configured")
    for _ in range(2):  # and is not tried again in vain
        assert (await driver.observe()).obstacle == reason


async def test_what_is_not_up_is_standby(fake: FakeDrbd) -> None:
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    seen = await make().observe()
    assert (seen.level, seen.detail) == (Level.STANDBY, "vpn is not up here; drbdadm up vpn")
    assert seen.obstacle == seen.detail
    eight(EIGHT / "no-resource-up", "left")
    fake.transcript(EVENTS, EIGHT / "no-resource-up/left.cmd.events2-now-vpn.txt")
    assert (await make().observe()).level is Level.STANDBY


async def test_without_the_module_nothing_is_asked(fake: FakeDrbd) -> None:
    look.PROC.unlink()
    seen = await make().observe()
    assert seen.level is Level.STANDBY
    assert "module is not loaded" in seen.detail
    assert fake.told == []
    look.MODULE.mkdir()
    fake.transcript(STATUS, NINE / "module-not-loaded/center.cmd.drbdsetup-status-json.txt")
    assert (await make().observe()).level is Level.STANDBY  # it went in this very moment


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'vpn: Operation not permitted' >&2; exit 20", "cannot read DRBD's state: vpn: Operation not permitted"),
        ("echo '[ {'", "cannot parse DRBD's status"),
        ("kill -9 $$", "exit status -9"),
        ("exit 0", "cannot parse DRBD's status"),
    ],
)
async def test_what_cannot_be_seen_is_unknown(fake: FakeDrbd, script: str, words: str) -> None:
    fake.script(STATUS, script)
    seen = await make().observe()
    assert seen.level is Level.UNKNOWN
    assert words in seen.detail


async def test_half_a_dump_of_eight_is_unknown(fake: FakeDrbd) -> None:
    eight(EIGHT / "primary-on-left", "left")
    fake.script(EVENTS, f"head -n 3 {EIGHT / 'primary-on-left/left.events2-now.txt'}")
    assert (await make().observe()).level is Level.UNKNOWN


async def test_no_drbdsetup_is_unknown(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake.directory / "drbdsetup").unlink()
    monkeypatch.setenv("PATH", str(fake.directory))
    seen = await make().observe()
    assert seen.level is Level.UNKNOWN
    assert "drbdsetup: not found" in seen.detail


async def test_a_look_that_hangs_is_unknown(fake: FakeDrbd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "DRBDSETUP_TIMEOUT_S", 0.2)
    fake.script(STATUS, "exec sleep 600")
    assert (await make().observe()).level is Level.UNKNOWN


async def test_a_sound_standby_has_nothing_in_the_way(fake: FakeDrbd) -> None:
    """That another node is Primary is how it should be."""
    fake.state(NINE / "primary-on-left", "right")
    assert (await make().observe()).obstacle == ""


async def test_also_after_a_refusal_that_another_node_is_primary_is_how_it_should_be(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "right")
    fake.answer(SHOW, "net {\nallow-two-primaries yes;\n}")
    driver = make()
    with pytest.raises(InUse, match="waited until the timeout: left is connected and Primary"):
        await driver.activate()
    assert (await driver.observe()).obstacle == ""


async def test_a_refusal_that_has_passed_already_is_told_once(fake: FakeDrbd) -> None:
    """So that who acts on a change sees one, and tries again."""
    fake.state(NINE / "isolated-secondary-right", "right")
    driver = make()
    reason = await refused(driver)
    fake.state(NINE / "all-fine", "right")
    seen = (await driver.observe()).obstacle
    assert seen
    assert reason == f"waited until the timeout: {seen}"
    assert (await driver.observe()).obstacle == ""


async def test_that_it_was_not_up_is_told_once(fake: FakeDrbd) -> None:
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    driver = make()
    reason = await refused(driver)
    assert (await driver.observe()).obstacle == reason
    fake.state(NINE / "all-fine", "right")
    assert (await driver.observe()).obstacle == ""


async def test_progress_is_no_change(fake: FakeDrbd) -> None:
    """DRBD says no although all looks well, while a peer synchronises from here."""
    fake.state(NINE / "left-back-resync", "right")
    status = (
        (NINE / "left-back-resync/right.status.json").read_text().replace('"role": "Primary"', '"role": "Secondary"')
    )
    fake.forget(STATUS)
    fake.answer(STATUS, status)
    no = "vpn: State change failed: (-7) Refusing to be Primary while peer is not outdated"
    fake.answer(PRIMARY_9, stderr=no, code=11)
    driver = make()
    assert (await driver.observe()).obstacle == ""
    reason = await refused(driver)
    assert reason == f"DRBD does not make vpn Primary: {no}"
    fake.forget(STATUS)
    further = re.sub(r'"percent-in-sync": [\d.]+', '"percent-in-sync": 77.7', status)
    assert further != status
    fake.answer(STATUS, further)
    for _ in range(2):
        assert (await driver.observe()).obstacle == reason
    fake.state(NINE / "all-fine", "right")
    assert (await driver.observe()).obstacle == ""


@pytest.mark.parametrize("name", ["all", "", "a b", "-v", "a/b"])
def test_what_is_no_name_of_a_resource(name: str) -> None:
    with pytest.raises(ValueError, match="the name of one DRBD resource"):
        drbd.Options(resource=name)


def test_what_it_owns_and_follows() -> None:
    assert drbd.Options(resource="vpn").owns == ("the DRBD resource vpn",)
    assert make().subject == "vpn"
    assert drivers.find("drbd").watch is follow.watch
    assert isinstance(make(), drivers.Accepts)
    assert "drbd" in drivers.names()
    assert not [name for name in drivers.names() if name.startswith("drbd") and name != "drbd"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (NINE / "primary-on-left", ""),
        (NINE / "primary-on-synctarget", ""),
        (
            NINE / "left-isolated",
            "no peer is connected and UpToDate (right: Connecting, DUnknown, center: Connecting, DUnknown)",
        ),
        (EIGHT / "primary-on-left", ""),
        (EIGHT / "detached", "no peer is connected and UpToDate (peer: Connected, Diskless)"),
        (EIGHT / "left-isolated", "no peer is connected and UpToDate (peer: Connecting, DUnknown)"),
    ],
    ids=lambda value: f"{value.parent.name}-{value.name}" if isinstance(value, Path) else "",
)
async def test_a_peer_can_take_over_if_it_is_connected_and_up_to_date(fake: FakeDrbd, state: Path, reason: str) -> None:
    if state.parent == EIGHT:
        eight(state, "left")
    fake.state(state, "left")
    driver = make()
    assert isinstance(driver, drivers.Replicates)
    assert await driver.no_successor() == reason
