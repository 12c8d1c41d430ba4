"""The bird driver against real birds 1.6, 2 and 3, and against what a socket should never say."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import DriverError, TimedOut, bird, birdctl, birdinclude, command
from tests.unit.drivers.birds import PREFIX, VERSIONS, RealBird, running


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fo-bird-") as name:  # short: the path of a socket has 107 bytes
        yield Path(name)


@pytest.fixture(params=VERSIONS)
async def real(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[RealBird]:
    async with running(request.param, directory) as one:
        yield one


def configures(texts: list[str]) -> list[str]:
    return [text.partition("configure")[2].strip() for text in texts if "configure" in text]


async def test_announce_and_repel(real: RealBird) -> None:
    driver = real.driver(protocol="upstream", prefix=PREFIX)
    assert (await driver.observe()).level is Level.STANDBY
    assert await real.announced() == "300"

    assert await driver.activate() is None
    assert (await driver.observe()).level is Level.ACTIVE
    assert await real.announced() == "100"
    assert real.include.read_text() == f"{birdinclude.HEADER}\ndefine failover_metric = 100;\n"
    assert real.include.stat().st_mode & 0o777 == 0o644

    assert await driver.deactivate() is None
    assert (await driver.observe()).level is Level.STANDBY
    assert await real.announced() == "300"
    assert (await real.ask("configure confirm")).code == 19  # nothing is left pending
    assert sorted(path.name for path in real.directory.iterdir()) == [
        "bird.conf",
        "ctl",
        "failoverd.conf",
        "log",
        "pid",
    ]


async def test_what_is_right_already_is_not_configured_again(real: RealBird) -> None:
    driver = real.driver()
    with command.recording() as first:
        await driver.activate()
    assert configures(first) == ["check", "timeout 30", "confirm"]
    with command.recording() as second:
        await driver.activate()
    assert configures(second) == []


async def test_a_file_that_bird_has_not_loaded_yet_is_loaded(real: RealBird) -> None:
    real.include.write_text(f"{birdinclude.HEADER}\ndefine failover_metric = 100;\n")
    await real.driver().activate()
    assert await real.announced() == "100"


async def test_a_broken_bird_conf_is_named_and_changes_nothing(real: RealBird) -> None:
    before = real.include.read_text()
    real.write_config("protocol static broken { nonsense; }\n")
    with pytest.raises(DriverError, match=rf"{real.config}:\d+:\d+ .*nothing was changed"):
        await real.driver().activate()
    assert real.include.read_text() == before
    assert await real.announced() == "300"
    real.write_config()
    await real.driver().activate()
    assert await real.announced() == "100"


async def test_a_route_that_is_not_exported_goes_back(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(birdinclude, "SETTLE", 0.1)
    before = real.include.read_text()
    driver = real.driver(active=2000, protocol="upstream", prefix=PREFIX)  # the filter rejects above 1000
    with command.recording() as texts, pytest.raises(DriverError, match="bird does not announce 192"):
        await driver.activate()
    assert configures(texts) == ["check", "timeout 30", "undo"]
    assert real.include.read_text() == before
    assert await real.announced() == "300"
    assert (await real.ask("configure confirm")).code == 19


async def test_active_without_the_route_is_failed(real: RealBird) -> None:
    await real.driver().activate()
    for protocol in ("device1", "nosuch", "no-such"):
        seen = await real.driver(protocol=protocol, prefix=PREFIX).observe()
        assert seen.level is Level.FAILED
        assert "is not exported" in seen.detail


async def test_a_session_that_is_down_does_not_keep_the_master_from_its_metric(real: RealBird) -> None:
    driver = real.driver(protocol="upstream", prefix=PREFIX)
    config = real.config.read_text()
    real.config.write_text(config.replace("upstream {", "upstream { disabled;"))
    assert (await real.ask("configure")).code in {3, 4}
    for _ in range(2):  # the second time there is nothing to change, and still something to say
        alarm = await driver.activate()
        assert alarm is not None
        assert f"upstream is not up (down; birdc show protocols all upstream): {PREFIX} is announced" in alarm
    seen = await driver.observe()
    assert seen.level is Level.ACTIVE
    assert "upstream is not up (down" in seen.detail
    assert "= 100" in real.include.read_text()
    assert (await real.ask("configure confirm")).code == 19  # nothing will be undone

    real.config.write_text(config)
    assert (await real.ask("configure")).code == 3
    assert await real.announced() == "100"
    assert await driver.activate() is None


async def test_an_unknown_symbol_says_what_bird_conf_needs(real: RealBird) -> None:
    real.config.write_text(real.config.read_text().replace("failover_metric", "100").partition("\n")[2])
    assert (await real.ask("configure")).code == 3
    seen = await real.driver().observe()
    assert seen.level is Level.FAILED
    assert f'include "{real.include}"' in seen.detail
    with pytest.raises(DriverError, match="bird knows no failover_metric"):
        await real.driver().activate()


async def test_a_third_value_is_failed(real: RealBird) -> None:
    real.include.write_text("define failover_metric = 7;\n")
    await real.ask("configure")
    seen = await real.driver().observe()
    assert (seen.level, seen.detail) == (
        Level.FAILED,
        "failover_metric = 7, which is neither active (100) nor standby (300)",
    )


async def test_several_resources_share_a_file_and_a_reconfiguration(real: RealBird) -> None:
    drivers = [real.driver(), *(real.driver(symbol=f"metric_{n}", active=n, standby=n + 500) for n in range(5))]
    with command.recording() as texts:
        await asyncio.gather(*(driver.activate() for driver in drivers))
    assert len(set(configures(texts))) == 3
    for driver in drivers:
        assert (await driver.observe()).level is Level.ACTIVE

    with command.recording() as texts:
        first = asyncio.create_task(drivers[0].deactivate())
        while not configures(texts) and not first.done():
            await asyncio.sleep(0)
            if "500" in real.include.read_text() or "300" in real.include.read_text():
                break  # the first reconfiguration is under way
        await asyncio.gather(*(driver.deactivate() for driver in drivers[1:]), first)
    for driver in drivers:
        assert (await driver.observe()).level is Level.STANDBY


async def test_one_that_bird_refuses_does_not_take_the_others_along(
    real: RealBird, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(birdinclude, "SETTLE", 0.1)
    good, bad = real.driver(), real.driver(symbol="other", active=1, standby=2, protocol="nosuch", prefix=PREFIX)
    results = await asyncio.gather(good.activate(), bad.activate(), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], DriverError)
    assert await real.announced() == "100"
    assert birdinclude.defines(real.include.read_text()) == {"failover_metric": "100"}


async def test_one_caller_that_gives_up_does_not_take_the_others_along(real: RealBird) -> None:
    other = real.driver(symbol="other", active=1, standby=2)
    given_up, kept = asyncio.create_task(other.activate()), asyncio.create_task(real.driver().activate())
    await asyncio.sleep(0)
    given_up.cancel()
    await kept
    assert given_up.cancelled()
    assert await real.announced() == "100"


async def test_what_nobody_waits_for_any_more_is_undone(real: RealBird) -> None:
    driver = real.driver(active=2000, protocol="upstream", prefix=PREFIX)
    task = asyncio.create_task(driver.activate())
    while (await real.ask("eval failover_metric")).text != "2000":
        await asyncio.sleep(0)
    task.cancel()
    while await real.announced() != "300":
        await asyncio.sleep(0.01)
    await driver.deactivate()
    assert birdinclude.defines(real.include.read_text()) == {"failover_metric": "300"}


async def test_the_last_wish_wins(real: RealBird) -> None:
    driver = real.driver()
    results = await asyncio.gather(driver.activate(), driver.deactivate(), return_exceptions=True)
    assert isinstance(results[0], DriverError)
    assert "overtaken" in results[0].reason
    assert results[1] is None
    assert (await driver.observe()).level is Level.STANDBY


async def test_a_dead_bird(real: RealBird) -> None:
    driver = real.driver()
    await driver.activate()
    await real.stop()
    seen = await driver.observe()
    assert (seen.level, seen.detail) == (
        Level.FAILED,
        "bird is not running; it will start with failover_metric = 100",
    )
    assert await driver.deactivate() is None
    assert (await driver.observe()).level is Level.STANDBY
    with pytest.raises(DriverError, match=r"bird is not running.*it will start with failover_metric = 100"):
        await driver.activate()
    assert (await driver.observe()).level is Level.FAILED
    await real.start()
    assert (await driver.observe()).level is Level.ACTIVE


async def test_a_dead_bird_without_a_file(directory: Path) -> None:
    dead = RealBird("2", directory)
    assert (await dead.driver().observe()).level is Level.FAILED
    await dead.driver().deactivate()
    assert (await dead.driver().observe()).level is Level.STANDBY


async def test_a_stopped_bird_is_unknown(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(birdctl, "ANSWER", 0.2)
    assert real.process is not None
    real.process.send_signal(signal.SIGSTOP)
    seen = await real.driver().observe()
    assert seen.level is Level.UNKNOWN
    assert "does not answer" in seen.detail
    with pytest.raises(TimedOut):
        await real.driver().deactivate()
    assert birdinclude.defines(real.include.read_text())["failover_metric"] == "300"
    # The kernel queues a few connections for it and then refuses: that is not "bird is not running" either.
    looks = await asyncio.gather(*(real.driver().observe() for _ in range(40)))
    assert {look.level for look in looks} == {Level.UNKNOWN}
    real.process.send_signal(signal.SIGCONT)
    while (await real.driver().observe()).level is not Level.STANDBY:
        await asyncio.sleep(0.01)


async def test_a_file_of_somebody_else_is_left_alone(real: RealBird) -> None:
    with_more = "define failover_metric = 300;\nfilter theirs { accept; }\n"
    real.include.write_text(with_more)
    with pytest.raises(DriverError, match="was not written by failoverd"):
        await real.driver().activate()
    assert real.include.read_text() == with_more


async def test_our_own_file_is_mended(real: RealBird) -> None:
    real.include.write_text(
        f"{birdinclude.HEADER}\ndefine failover_metric = 300;\ndefine theirs = 10.0.0.1;\n\0gar bage\n"
    )
    await real.driver().activate()
    assert real.include.read_text() == (
        f"{birdinclude.HEADER}\ndefine failover_metric = 100;\ndefine theirs = 10.0.0.1;\n"
    )


async def test_a_directory_that_is_not_there(real: RealBird) -> None:
    real.directory.joinpath("sub").mkdir()
    options = bird.Options(
        symbol="failover_metric", active=100, standby=300, include="/nonexistent/f.conf", socket=str(real.socket)
    )
    with pytest.raises(DriverError, match=r"cannot be written.*is its directory there"):
        await bird.make(options, ResourceSpec(instance="VI_1", name="prefix", driver="bird")).activate()


async def test_a_disk_that_hangs_is_waited_for_elsewhere(tmp_path: Path) -> None:
    include = tmp_path / "f.conf"
    os.mkfifo(include)  # who reads it waits for somebody who writes
    options = bird.Options(symbol="m", active=100, standby=300, include=str(include), socket=str(tmp_path / "ctl"))
    driver = bird.make(options, ResourceSpec(instance="VI_1", name="prefix", driver="bird"))
    looking, stopping = asyncio.create_task(driver.observe()), asyncio.create_task(driver.deactivate())
    await asyncio.sleep(0.05)  # the loop goes on
    assert not looking.done()
    assert not stopping.done()
    include.rename(tmp_path / "gone")
    (tmp_path / "gone").open("w").close()  # the disk answers, and has no such file
    assert (await looking).level is Level.FAILED
    await stopping
    assert birdinclude.defines(include.read_text()) == {"m": "300"}


@contextlib.asynccontextmanager
async def answering(directory: Path, *answers: bytes) -> AsyncIterator[None]:
    """A socket that greets with the first of `answers` and gives the others, one for each question."""
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in answers:
                writer.write(answer)
                await writer.drain()
                if not await reader.readline():
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_unix_server(accept, directory / "ctl"):
        yield
        await asyncio.gather(*served)


GREETING = b"0001 BIRD 2.0.12 ready.\n"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((b"220 smtp.example.org ESMTP\r\n",), "does not speak bird's protocol"),
        ((b"\xff\xfe\0\n",), "does not speak bird's protocol"),
        ((b"0001-" + b"x" * 400_000,), "does not end"),
        ((b"1000-x\n" * 100_000,), "does not end"),
        ((GREETING, b"0023 100\n0023 300\n"), "says more than was asked"),
        ((GREETING, b" continues nothing\n"), "does not speak bird's protocol"),
    ],
)
async def test_garbage_is_unknown(directory: Path, answers: tuple[bytes, ...], words: str) -> None:
    async with answering(directory, *answers):
        seen = await RealBird("2", directory).driver().observe()
    assert seen.level is Level.UNKNOWN
    assert words in seen.detail


async def test_a_reconfiguration_that_is_queued_is_awaited(directory: Path) -> None:
    async with answering(
        directory, GREETING, b"0023 300\n", b"0020 OK\n", b"0002-Reading\n0022-Undo\n0005 Queued\n",
        b"0023 300\n", b"0023 300\n", b"0023 100\n", b"0018 Confirmed\n",
    ):  # fmt: skip
        fake = RealBird("2", directory)
        fake.include.write_text(f"{birdinclude.HEADER}\ndefine failover_metric = 100;\n")
        assert await fake.driver().activate() is None


async def test_a_protocol_that_restarts_is_an_alarm(directory: Path) -> None:
    async with answering(
        directory, GREETING, b"0020 OK\n", b"0002-Reading\n0022-Undo\n0004 In progress\n", b"0023 100\n", b"0018 C\n"
    ):
        alarm = await RealBird("2", directory).driver().activate()
    assert alarm is not None
    assert "0004" in alarm


async def test_a_bird_that_shuts_down_does_not_take_it(directory: Path) -> None:
    async with answering(directory, GREETING, b"0020 OK\n", b"0002-Reading\n0006 Shutting down\n"):
        fake = RealBird("2", directory)
        with pytest.raises(DriverError, match="0006"):
            await fake.driver().activate()
        assert not fake.include.exists()


async def test_a_bird_that_dies_in_the_middle(directory: Path) -> None:
    async with answering(directory, GREETING, b"0020 OK\n"):
        fake = RealBird("2", directory)
        with pytest.raises(DriverError, match="closed its control socket"):
            await fake.driver().activate()
    assert birdinclude.defines(fake.include.read_text()) == {"failover_metric": "100"}


def recordings() -> list[Path]:
    return sorted((Path(__file__).resolve().parents[2] / "recordings/bird").glob("*.txt"))


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_recorded_replies(path: Path) -> None:
    """Every reply in a recording is `> question` and what bird said; whatever the pieces in which it arrives."""
    told: dict[str, birdctl.Reply] = {}
    for part in path.read_text().split("> ")[1:]:
        question, _, answer = part.partition("\n")
        for size in (1, 7, len(answer)):
            parser = birdctl.Parser()
            data = answer.encode()
            replies = [parser.feed(data[at : at + size]) for at in range(0, len(data), size)]
            assert replies[:-1] == [None] * (len(replies) - 1)
            assert replies[-1] is not None
            told[question] = replies[-1]
    assert told["eval failover_metric"].lines == ((birdctl.EVALUATED, "300"),)
    assert told["eval nosuch"].failed
    assert told["configure check"].code == birdctl.CHECKED
    assert told["configure timeout 30"].code == birdctl.RECONFIGURED
    assert told["configure confirm"].code == birdctl.CONFIRMED
    assert told["configure check # broken"].failed
    assert "failoverd.conf:1:" in told["configure check # broken"].text
    assert any(code == birdctl.ROUTE for code, _ in told["show route 192.0.2.0/24 export upstream"].lines)
    assert told["show route 198.51.100.0/24 export upstream"].failed


def test_there_are_recordings() -> None:
    assert len(recordings()) == 3


def test_commands_are_pasteable() -> None:
    options = bird.Options(symbol="m", active=1, standby=3, protocol="up-1", prefix="2001:db8::/32")
    driver = bird.make(options, ResourceSpec(instance="VI_1", name="prefix", driver="bird"))
    assert driver.commands(Verb.ACTIVATE) == (
        "sed -i 's/^define m = .*/define m = 1;/' /etc/bird/failoverd.conf",
        "birdc configure check",
        "birdc configure timeout 30",
        "birdc eval m",
        "birdc show route 2001:db8::/32 export ''\"'\"'up-1'\"'\"''",
        "birdc configure confirm",
    )
    assert "birdc show route" not in " ".join(driver.commands(Verb.DEACTIVATE))


@pytest.mark.parametrize(
    ("more", "words"),
    [({"active": 3}, "must differ"), ({"protocol": "up"}, "both or neither"),
     ({"protocol": "up", "prefix": "192.0.2.1/24"}, "prefix: .*host bits")],
)  # fmt: skip
def test_options_are_held_against_each_other(more: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bird.Options(**{"symbol": "m", "active": 1, "standby": 3} | more)  # type: ignore[arg-type]
