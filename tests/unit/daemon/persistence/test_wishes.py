"""The operators' wishes survive a restart without the disk, and a reboot by the disk."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import time as wall

import pytest

from failoverd.core.model import Maintenance, Standby
from failoverd.daemon import status
from failoverd.daemon.persistence import state_file, wishes
from failoverd.daemon.persistence.wishes import Wished, Wishes
from failoverd.osutil import atomic_file
from failoverd.records import Records, records
from failoverd.trouble import TroubleKind, troubles
from tests.unit import full

WISH = Wished(standby={"VI_1": Standby(by="root", at=100.0)})


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path) -> Iterator[None]:
    records.move(tmp_path / "run")
    (tmp_path / "run").mkdir()
    yield
    troubles.end(TroubleKind.WISHES)
    troubles.end(TroubleKind.WISHES, "unreadable")


def opened(tmp_path: Path, found: Callable[[Wished], None] = lambda _: None) -> Wishes:
    return Wishes(tmp_path / "state", found)


def reboot(tmp_path: Path) -> None:
    """No record is left."""
    records.move(tmp_path / "next")
    (tmp_path / "next").mkdir()


def names(wished: Wished) -> dict[str, str]:
    return {name: each.by for name, each in wished.standby.items()}


async def kept(tmp_path: Path) -> Wishes:
    made = opened(tmp_path)
    made.want(WISH)
    assert await made.saved(10.0) == ""
    return made


async def test_it_survives_a_reboot_with_its_time(tmp_path: Path) -> None:
    now = asyncio.get_running_loop().time()
    made = opened(tmp_path)
    made.want(Wished(standby={"VI_1": Standby(by="root", at=now - 60)}))
    assert await made.saved(10.0) == ""
    reboot(tmp_path)
    found = (await opened(tmp_path).recall(now + 10)).standby["VI_1"]
    assert found.by == "root"
    assert found.at == pytest.approx(now - 50, abs=5.0), "70 s of the wall clock ago, or as good as"


async def test_a_restart_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept(tmp_path)
    monkeypatch.setattr(state_file, "read", lambda *_: pytest.fail("the disk was read"))
    assert names(await opened(tmp_path).recall(200.0)) == {"VI_1": "root"}


def stored(tmp_path: Path) -> bytes:
    return atomic_file.read(tmp_path / "state" / "wishes")


async def test_what_is_ended_is_gone_for_good(tmp_path: Path) -> None:
    made = await kept(tmp_path)
    made.want(Wished())
    assert await made.saved(10.0) == ""
    reboot(tmp_path)
    assert names(await opened(tmp_path).recall(200.0)) == {}


async def test_a_wish_whose_end_was_not_written_does_not_come_back(tmp_path: Path) -> None:
    made = await kept(tmp_path)
    (tmp_path / "state").rename(tmp_path / "full")
    (tmp_path / "state").write_text("a file, not a directory", encoding="utf-8")
    made.want(Wished())
    assert "cannot write" in await made.saved(10.0)
    (tmp_path / "state").unlink()
    (tmp_path / "full").rename(tmp_path / "state")
    restarted = opened(tmp_path)
    assert names(await restarted.recall(200.0)) == {}
    restarted.look()
    assert await restarted.saved(10.0) == ""
    reboot(tmp_path)
    assert names(await opened(tmp_path).recall(200.0)) == {}


async def test_without_a_file_there_is_no_wish_and_no_trouble(tmp_path: Path) -> None:
    assert await opened(tmp_path).recall(200.0) == Wished()
    assert not list(tmp_path.glob("state/*"))
    assert not troubles.standing


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "[" * 100_000,
        '{"standby": []}',
        '{"standby": {"VI_1": {"by": 3, "at": 1}}}',
        '{"standby": {}, "maintenance": 3}',
    ],
)
async def test_a_file_that_cannot_be_parsed_is_renamed(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "wishes").write_text(content, encoding="utf-8")
    made = opened(tmp_path)
    assert await made.recall(200.0) == Wished()
    made.want(WISH)
    assert await made.saved(10.0) == ""
    assert (tmp_path / "state" / "wishes.unreadable").read_text(encoding="utf-8") == content
    assert [each.about for each in troubles.standing] == ["wishes unreadable"]


@pytest.mark.parametrize("time", [-1e300, 1e300])
async def test_an_impossible_time_loses_no_wish(tmp_path: Path, time: float) -> None:
    (tmp_path / "state").mkdir()
    maintenance = {"by": "root", "since": time, "until": time, "monotonic": time, "boot": records.boot}
    content = {"standby": {"VI_1": {"by": "root", "at": time}}, "maintenance": maintenance}
    (tmp_path / "state" / "wishes").write_text(json.dumps(content), encoding="utf-8")
    found = await opened(tmp_path).recall(200.0)
    assert names(found) == {"VI_1": "root"}
    assert found.maintenance is not None
    ahead = wall() - 200.0
    for at in (found.standby["VI_1"].at, found.maintenance.since, found.maintenance.until):
        assert status.timestamp(at + ahead)


@pytest.mark.parametrize("spared", [True, False])
async def test_a_record_that_cannot_be_written_does_not_win_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spared: bool
) -> None:
    many = Wished(standby={f"VI_{n}": Standby(by="root", at=100.0) for n in range(200)})
    with full.tmpfs(tmp_path / "run"):
        made = await kept(tmp_path)
        if not spared:
            monkeypatch.setattr(records, "spare", tmp_path / "no" / "spare")
        filler = full.fill(tmp_path / "run")
        made.want(many)
        assert await made.saved(10.0) == ""
        assert [each.about for each in troubles.standing] == ["record wishes"]
        restarted = Records(tmp_path / "run")
        restarted.spare = records.spare
        monkeypatch.setattr(wishes, "records", restarted)
        assert len((await opened(tmp_path).recall(200.0)).standby) == 200
        filler.unlink()
        restarted.look()
        records.look()
        assert not troubles.standing
        assert len(json.loads((tmp_path / "run" / "records" / "wishes").read_bytes())["wishes"]["standby"]) == 200


async def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[Wished]) -> Wishes:
    """A node that is in standby and in maintenance, after a boot in which its disk did not answer in time."""
    made = opened(tmp_path)
    made.want(replace(WISH, maintenance=Maintenance(by="root", since=100.0, until=math.inf)))
    assert await made.saved(10.0) == ""
    reboot(tmp_path)
    with monkeypatch.context() as slow:
        slow.setattr(wishes, "READ_TIMEOUT_S", 0.01)
        slow.setattr(state_file, "_PROGRAM", ("sh", "-c", "exec sleep 600"))
        made = opened(tmp_path, found.append)
        assert await made.recall(200.0) == Wished()
    assert "until it is read" in troubles.standing[0].text
    return made


async def test_a_new_wish_does_not_overwrite_a_file_that_was_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Wished] = []
    made = await late(tmp_path, monkeypatch, found)
    made.want(Wished(standby={"VI_2": Standby(by="jim", at=100.0)}))
    assert await made.saved(10.0) == ""
    assert names(found[0]) == {"VI_1": "root", "VI_2": "jim"}
    assert found[0].maintenance is not None
    assert list(json.loads(stored(tmp_path))["standby"]) == ["VI_1", "VI_2"]
    assert not troubles.standing
    assert names(await opened(tmp_path).recall(200.0)) == {"VI_1": "root", "VI_2": "jim"}


async def test_a_wish_that_ended_before_the_file_was_read_does_not_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Wished] = []
    made = await late(tmp_path, monkeypatch, found)
    made.end(["VI_1"])
    made.end_maintenance()
    made.look()
    assert await made.saved(10.0) == ""
    assert found == [Wished()]
    assert json.loads(stored(tmp_path)) == {"standby": {}, "maintenance": None}


async def test_a_restart_reads_the_file_that_was_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await late(tmp_path, monkeypatch, [])
    made.end_maintenance()
    made.want(Wished(standby={"VI_2": Standby(by="jim", at=100.0)}))
    made.close()
    again = await opened(tmp_path).recall(200.0)
    assert (names(again), again.maintenance) == ({"VI_1": "root", "VI_2": "jim"}, None)


async def test_a_disk_error_is_no_empty_file(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "wishes").symlink_to("elsewhere")
    made = opened(tmp_path)
    assert await made.recall(200.0) == Wished()
    made.want(WISH)
    assert "symbolic links" in await made.saved(10.0)
    assert (tmp_path / "state" / "wishes").is_symlink()


async def test_a_disk_that_hangs_delays_neither_the_start_nor_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "READ_TIMEOUT_S", 0.01)
    monkeypatch.setattr(state_file, "_PROGRAM", ("sh", "-c", "exec sleep 600"))
    made = opened(tmp_path)
    assert await made.recall(200.0) == Wished()
    assert "did not answer within" in troubles.standing[0].text
    troubles.end(TroubleKind.WISHES)
    made.want(WISH)
    assert "has not answered within 0.01 s" in await made.saved(0.01)
    made.close()


async def test_a_write_that_hangs_is_a_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "_PROGRAM", ("sh", "-c", "exec sleep 600"))
    made = opened(tmp_path)
    made.want(WISH)
    made.look()
    made.look()
    assert "the disk does not answer" in troubles.standing[0].text
    made.close()


async def test_a_write_that_failed_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, not a directory", encoding="utf-8")
    made = opened(tmp_path)
    made.want(WISH)
    assert "cannot write" in await made.saved(10.0)
    (tmp_path / "state").unlink()
    made.look()
    assert await made.saved(10.0) == ""
    assert not troubles.standing
    assert json.loads(stored(tmp_path))["standby"]["VI_1"]["by"] == "root"


async def test_the_newest_wish_is_written_when_it_changes_during_a_write(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.want(WISH)
    made.want(Wished(standby={"VI_2": Standby(by="jim", at=100.0)}))
    assert await made.saved(10.0) == ""
    assert list(json.loads(stored(tmp_path))["standby"]) == ["VI_2"]


@pytest.mark.parametrize("seconds", [3600.0, math.inf])
async def test_maintenance_survives_a_restart_and_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    now = asyncio.get_running_loop().time()
    made = opened(tmp_path)
    made.want(Wished(maintenance=Maintenance(by="root", since=now - 60, until=now + seconds)))
    assert await made.saved(10.0) == ""
    found = (await opened(tmp_path).recall(now)).maintenance
    assert found is not None
    assert found.until == now + seconds, "by the monotonic clock, which a boot's daemons share"
    reboot(tmp_path)
    monkeypatch.setattr(records, "boot", "another boot")
    again = (await opened(tmp_path).recall(now)).maintenance
    assert again is not None
    assert again.until == pytest.approx(now + seconds, abs=60), "by the wall clock"
    assert again.since == pytest.approx(now - 60, abs=60)


async def test_a_wall_clock_that_is_wrong_after_a_boot_makes_no_maintenance_longer(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    since = wall() + 10 * 365 * 86400
    kept = {"by": "root", "since": since, "until": since + 3600, "monotonic": 1e6, "boot": "another boot"}
    content = {"standby": {}, "maintenance": kept}
    (tmp_path / "state" / "wishes").write_text(json.dumps(content), encoding="utf-8")
    found = (await opened(tmp_path).recall(200.0)).maintenance
    assert found is not None
    assert (found.since, found.until) == (200.0, pytest.approx(3800.0))
    restarted = (await opened(tmp_path).recall(1000.0)).maintenance
    assert restarted is not None
    assert restarted.until == found.until, "a restart begins no new time"
