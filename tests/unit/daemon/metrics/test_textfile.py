"""The file for node_exporter: written on a change, and now and then; removed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from failoverd.daemon.metrics import textfile
from failoverd.daemon.metrics.textfile import Textfile
from failoverd.ports import command
from failoverd.ports.errors import Hung
from failoverd.ports.process import Completed
from failoverd.trouble import TroubleKind, Troubles

NEVER = 3600.0


class Text:
    """Each text is the next number."""

    def __init__(self) -> None:
        self.number = 0

    async def __call__(self) -> bytes:
        self.number += 1
        return b"%d\n" % self.number


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


class Written:
    """A file that is kept up to date."""

    def __init__(self, file: Path, *, interval: float = 0.0, heartbeat: float = NEVER) -> None:
        self.file = file
        self.text = Text()
        self.textfile = Textfile(file, self.text, interval=interval, heartbeat=heartbeat)
        self.task = asyncio.create_task(self.textfile.run())

    def content(self) -> str:
        return self.file.read_text() if self.file.exists() else ""

    async def reads(self, content: str) -> None:
        await until(lambda: self.content() == content)

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Written]:
    made = Written(tmp_path / "failoverd.prom")
    yield made
    await made.end()


async def test_a_change_is_written_and_nothing_without_one(written: Written) -> None:
    await written.reads("1\n")
    assert written.file.stat().st_mode & 0o777 == 0o644
    written.textfile.change()
    await written.reads("2\n")
    assert written.text.number == 2


async def test_many_changes_within_the_interval_are_one(tmp_path: Path) -> None:
    made = Written(tmp_path / "x.prom", interval=NEVER)
    await made.reads("1\n")
    for _ in range(100):
        made.textfile.change()
        await asyncio.sleep(0)
    assert made.text.number == 1
    await made.end()


async def test_it_is_written_without_a_change_too(tmp_path: Path) -> None:
    made = Written(tmp_path / "x.prom", heartbeat=0.001)
    await until(lambda: made.text.number > 3)
    await made.end()


async def test_it_is_removed_at_the_end_and_nothing_else_is_left(written: Written) -> None:
    await written.reads("1\n")
    await written.end()
    assert list(written.file.parent.iterdir()) == []


async def test_a_folder_that_is_missing_is_a_trouble_until_it_is_there(tmp_path: Path, troubles: Troubles) -> None:
    made = Written(tmp_path / "folder" / "x.prom", heartbeat=0.001)
    await until(lambda: bool(troubles.standing))
    [trouble] = troubles.standing
    assert trouble.kind is TroubleKind.METRICS_FILE
    assert trouble.text.startswith(f"cannot write {made.file} (sh: ")
    assert "so Prometheus sees old figures; run: ls -ld" in trouble.text
    made.file.parent.mkdir()
    await until(lambda: not troubles.standing)
    assert made.content()
    made.file.parent.rename(tmp_path / "away")
    await until(lambda: bool(troubles.standing))
    await made.end()
    assert not troubles.standing


async def test_a_disk_that_hangs_takes_one_process_and_is_a_trouble(
    tmp_path: Path, troubles: Troubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = False
    runs = 0

    async def run(argv: tuple[str, ...], **_: object) -> Completed:
        nonlocal runs
        runs += argv[0] == "sh"
        if not over:
            raise Hung("sh: hangs", lambda: over)
        return Completed(argv=argv, returncode=0, stdout="", stderr="")

    monkeypatch.setattr(command, "run", run)
    made = Written(tmp_path / "x.prom", heartbeat=0.001)
    await until(lambda: bool(troubles.standing))
    assert "sh: hangs" in troubles.standing[0].text
    made.textfile.change()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert runs == 1
    over = True
    await until(lambda: not troubles.standing)
    await made.end()


async def test_a_write_that_takes_too_long_is_ended(
    tmp_path: Path, troubles: Troubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textfile, "WRITE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(textfile, "_SCRIPT", "exec sleep 3600")
    made = Written(tmp_path / "x.prom")
    await until(lambda: bool(troubles.standing))
    assert "it took more than 0.05 s" in troubles.standing[0].text
    await made.end()


async def test_a_link_that_somebody_left_at_its_draft_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".x.prom.new").symlink_to(victim)
    made = Written(tmp_path / "x.prom")
    await made.reads("1\n")
    assert victim.read_text() == "mine"
    await made.end()
