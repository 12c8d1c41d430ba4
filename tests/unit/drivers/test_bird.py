"""The bird driver against real birds 1.6, 2 and 3, and against what a socket should never say."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from failoverd.core.resource import Observation
from failoverd.core.spec import ResourceSpec
from failoverd.core.words import Level, Verb
from failoverd.drivers import Follows, bird
from failoverd.drivers.bird import control_socket, include_file
from failoverd.ports import command
from failoverd.ports.errors import DriverError, Refused, TimedOut
from tests.unit import full
from tests.unit.drivers.birds import ELSEWHERE, PREFIX, VERSIONS, RealBird, running

SPEC = ResourceSpec(instance="VI_1", name="prefix", driver="bird")

#: The first of bird's reply codes that say it could not, or did not understand (doc/reply_codes).
ERRORS = 8000


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
    assert real.include.read_text() == f"{include_file.HEADER}\ndefine failover_metric = 100;\n"
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
    real.include.write_text(f"{include_file.HEADER}\ndefine failover_metric = 100;\n")
    await real.driver().activate()
    assert await real.announced() == "100"


async def test_a_broken_bird_conf_is_named_and_changes_nothing(real: RealBird) -> None:
    before = real.include.read_text()
    real.write_config("protocol static broken { nonsense; }\n")
    with pytest.raises(DriverError, match=rf"{real.config}:\d+:\d+ .*nothing was changed") as caught:
        await real.driver().activate()
    assert not isinstance(caught.value, Refused)  # which would not be tried again when bird.conf is mended
    assert real.include.read_text() == before
    assert await real.announced() == "300"
    real.write_config()
    await real.driver().activate()
    assert await real.announced() == "100"


async def test_a_route_that_is_not_exported_goes_back(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include_file, "EXPORT_TIMEOUT_S", 0.1)
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
    seen = await real.driver(protocol="upstream", prefix=ELSEWHERE).observe()
    assert seen.level is Level.FAILED
    assert "is not exported" in seen.detail


def not_up(real: RealBird, protocol: str = "upstream", state: str = "down") -> str:
    name = protocol if protocol.isalpha() else f"\"'{protocol}'\""
    more = f"birdc -s {real.socket} show protocols all {name}"
    return f"{protocol} is not up ({state}; {more}), so no peer learns {PREFIX}"


async def test_a_session_that_is_down_does_not_keep_the_master_from_its_metric(real: RealBird) -> None:
    driver = real.driver(protocol="upstream", prefix=PREFIX)
    await real.set_upstream("disabled;")
    seen = await driver.observe()
    assert (seen.level, seen.alarm, seen.obstacle) == (Level.STANDBY, None, not_up(real))
    for _ in range(2):  # the second time there is nothing to change, and still something to say
        await driver.activate()
        seen = await driver.observe()
        assert (seen.level, seen.alarm, seen.obstacle) == (Level.ACTIVE, not_up(real), "")
    assert "= 100" in real.include.read_text()
    assert (await real.ask("configure confirm")).code == 19  # nothing will be undone

    await real.set_upstream("")
    assert await real.announced() == "100"
    seen = await driver.observe()
    assert (seen.level, seen.alarm) == (Level.ACTIVE, None)
    await driver.deactivate()
    assert (await driver.observe()).obstacle == ""


async def test_a_session_that_is_required(real: RealBird) -> None:
    driver = real.driver(protocol="upstream", prefix=PREFIX, require_session=True)
    await real.set_upstream("disabled;")
    assert (await driver.observe()).obstacle == not_up(real)
    with command.recording() as texts, pytest.raises(Refused, match="upstream is not up"):
        await driver.activate()
    assert configures(texts) == []

    await real.set_upstream("")
    assert (await driver.observe()).obstacle == not_up(real)  # so that its end is a change
    assert (await driver.observe()).obstacle == ""
    await driver.activate()
    assert (await driver.observe()).level is Level.ACTIVE
    await real.set_upstream("disabled;")
    seen = await driver.observe()
    assert (seen.level, seen.detail) == (Level.FAILED, f"failover_metric = 100, but {not_up(real)}")
    assert seen.obstacle == not_up(real)
    await real.stop()
    with pytest.raises(DriverError, match="bird is not running"):
        await driver.activate()


@pytest.mark.parametrize("name", ["up-1", "edge.2", "1st"])
async def test_a_name_that_needs_quotes(real: RealBird, name: str) -> None:
    real.write_config(upstream=f"'{name}'")
    assert (await real.ask("configure")).code in {control_socket.RECONFIGURED, control_socket.PROTOCOL_RESTARTS}
    while await real.announced(name) != "300":
        await asyncio.sleep(0.01)
    driver = real.driver(protocol=name, prefix=PREFIX)
    assert await driver.activate() is None
    seen = await driver.observe()
    assert (seen.level, seen.alarm) == (Level.ACTIVE, None)

    await real.set_upstream("disabled;")
    await driver.deactivate()
    assert (await driver.observe()).obstacle == not_up(real, name)
    await driver.activate()
    seen = await driver.observe()
    assert (seen.level, seen.alarm) == (Level.ACTIVE, not_up(real, name))


@pytest.mark.parametrize("name", ["nosuch", "no-such", "failover_metric"])
async def test_a_protocol_that_bird_does_not_know_is_never_up(real: RealBird, name: str) -> None:
    driver = real.driver(protocol=name, prefix=PREFIX)
    unknown = f"bird does not say whether {name} is up ("
    assert (await driver.observe()).obstacle.startswith(unknown)
    await driver.activate()
    seen = await driver.observe()
    assert seen.level is Level.ACTIVE
    assert (seen.alarm or "").startswith(unknown)
    with pytest.raises(Refused, match="bird does not say whether"):
        await real.driver(protocol=name, prefix=PREFIX, require_session=True).activate()


async def test_an_unknown_symbol_says_what_bird_conf_needs(real: RealBird) -> None:
    real.config.write_text(real.config.read_text().replace("failover_metric", "100").partition("\n")[2])
    assert (await real.ask("configure")).code == 3
    seen = await real.driver().observe()
    assert seen.level is Level.FAILED
    assert f'include "{real.include}"' in seen.detail
    with pytest.raises(DriverError, match="bird does not know failover_metric"):
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
    monkeypatch.setattr(include_file, "EXPORT_TIMEOUT_S", 0.1)
    good, bad = real.driver(), real.driver(symbol="other", active=1, standby=2, protocol="upstream", prefix=ELSEWHERE)
    results = await asyncio.gather(good.activate(), bad.activate(), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], DriverError)
    assert await real.announced() == "100"
    assert include_file.defines(real.include.read_text()) == {"failover_metric": "100"}


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
    assert include_file.defines(real.include.read_text()) == {"failover_metric": "300"}


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
    seen = await driver.observe()
    assert (seen.level, seen.obstacle) == (Level.STANDBY, "bird is not running: systemctl start bird")
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
    monkeypatch.setattr(control_socket, "ANSWER_TIMEOUT_S", 0.2)
    assert real.process is not None
    real.process.send_signal(signal.SIGSTOP)
    seen = await real.driver().observe()
    assert seen.level is Level.UNKNOWN
    assert "does not answer" in seen.detail
    with pytest.raises(TimedOut):
        await real.driver().deactivate()
    assert include_file.defines(real.include.read_text())["failover_metric"] == "300"
    # The kernel queues a few connections for it and then refuses: that is not "bird is not running" either.
    looks = await asyncio.gather(*(real.driver().observe() for _ in range(40)))
    assert {look.level for look in looks} == {Level.UNKNOWN}
    real.process.send_signal(signal.SIGCONT)
    while (await real.driver().observe()).level is not Level.STANDBY:
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def following(driver: bird.Bird) -> AsyncIterator[Callable[[Callable[[Observation], bool]], Awaitable[None]]]:
    """Waits until a look says something; only what changes is a reason to look."""
    news = asyncio.Event()
    assert isinstance(driver, Follows)
    task = asyncio.create_task(driver.follow(news.set))

    async def until(condition: Callable[[Observation], bool]) -> None:
        while True:
            await news.wait()
            news.clear()
            if condition(await driver.observe()):
                return

    async with asyncio.timeout(60):
        yield until
    task.cancel()
    await asyncio.wait({task})


async def test_what_happens_to_bird_and_its_session_is_noticed(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "POLL_INTERVAL_S", 0.02)
    driver = real.driver(protocol="upstream", prefix=PREFIX)
    await driver.activate()
    async with following(driver) as until:
        await until(lambda seen: seen.alarm is None)
        await real.set_upstream("disabled;")
        await until(lambda seen: "upstream is not up" in (seen.alarm or ""))
        await real.set_upstream("")
        await until(lambda seen: seen.alarm is None)
        await real.stop()
        await until(lambda seen: "bird is not running" in seen.detail)
        await real.start()
        await until(lambda seen: seen.level is Level.ACTIVE)


async def test_that_bird_is_gone_is_noticed_without_a_question(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "POLL_INTERVAL_S", 3600)
    for driver in (real.driver(), real.driver(protocol="upstream", prefix=PREFIX)):
        async with following(driver) as until:
            await until(lambda seen: seen.level is Level.STANDBY)
            await real.stop()
            await until(lambda seen: "bird is not running" in seen.detail)
        await real.start()


async def test_a_bird_that_is_busy_is_not_told_as_a_change(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    await real.set_upstream("")  # it is up, and stays so
    monkeypatch.setattr(control_socket, "POLL_INTERVAL_S", 0.01)
    told: list[None] = []
    task = asyncio.create_task(control_socket.follow(str(real.socket), "upstream", lambda: told.append(None)))
    while not told:
        await asyncio.sleep(0.01)
    assert real.process is not None
    monkeypatch.setattr(control_socket, "ANSWER_TIMEOUT_S", 0.05)
    real.process.send_signal(signal.SIGSTOP)
    for _ in range(2):  # each is longer than one that is asked in the same moment is waited for
        with pytest.raises(TimedOut):
            await real.ask("show protocols upstream")
    monkeypatch.setattr(control_socket, "ANSWER_TIMEOUT_S", 10)
    real.process.send_signal(signal.SIGCONT)
    await real.ask("show protocols upstream")
    assert len(told) == 1
    await real.set_upstream("disabled;")
    while len(told) < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})


async def test_a_file_of_somebody_else_is_left_alone(real: RealBird) -> None:
    with_more = "define failover_metric = 300;\nfilter theirs { accept; }\n"
    real.include.write_text(with_more)
    with pytest.raises(DriverError, match="was not written by failoverd"):
        await real.driver().activate()
    assert real.include.read_text() == with_more


async def test_our_own_file_is_mended(real: RealBird) -> None:
    real.include.write_text(
        f"{include_file.HEADER}\ndefine failover_metric = 300;\ndefine theirs = 10.0.0.1;\n\0gar bage\n"
    )
    await real.driver().activate()
    assert real.include.read_text() == (
        f"{include_file.HEADER}\ndefine failover_metric = 100;\ndefine theirs = 10.0.0.1;\n"
    )


async def test_a_directory_that_is_not_there(real: RealBird) -> None:
    real.directory.joinpath("sub").mkdir()
    options = bird.Options(
        symbol="failover_metric", active=100, standby=300, include="/nonexistent/f.conf", socket=str(real.socket)
    )
    with pytest.raises(DriverError, match=r"cannot be written.*is its directory there"):
        await bird.make(options, SPEC).activate()


async def test_a_disk_that_hangs_is_waited_for_elsewhere(tmp_path: Path) -> None:
    include = tmp_path / "f.conf"
    os.mkfifo(include)  # who reads it waits for somebody who writes
    options = bird.Options(symbol="m", active=100, standby=300, include=str(include), socket=str(tmp_path / "ctl"))
    driver = bird.make(options, SPEC)
    looking, stopping = asyncio.create_task(driver.observe()), asyncio.create_task(driver.deactivate())
    await asyncio.sleep(0.05)  # the loop goes on
    assert not looking.done()
    assert not stopping.done()
    include.rename(tmp_path / "gone")
    while not (looking.done() and stopping.done()):  # the disk answers whoever waits, and has no such file
        with contextlib.suppress(OSError):  # nobody waits just now
            os.close(os.open(tmp_path / "gone", os.O_WRONLY | os.O_NONBLOCK))
        await asyncio.sleep(0.01)
    assert (await looking).level is Level.FAILED
    await stopping
    assert include_file.defines(include.read_text()) == {"m": "300"}


async def test_a_file_that_could_not_be_written_is_known_beforehand(directory: Path) -> None:
    with full.tmpfs(directory / "etc") as small:
        async with running("2", directory) as real:
            real.include.unlink()
            real.include.symlink_to(small / "failoverd.conf")
            (small / "failoverd.conf").write_text("define failover_metric = 300;\n")
            driver = real.driver()
            assert (await driver.observe()).obstacle == ""

            full.read_only(small)
            seen = await driver.observe()
            assert seen.level is Level.STANDBY
            assert "cannot be written: Read-only file system; see: findmnt" in seen.obstacle
            with pytest.raises(DriverError, match="cannot be written"):
                await driver.activate()

            full.read_only(small, is_so=False)
            full.fill(small)
            assert (await driver.observe()).obstacle == ""  # the file's own block suffices
            await driver.activate()
            await driver.deactivate()
            (small / "failoverd.conf").unlink()
            full.fill(small)
            assert "cannot be written: No space left on device" in (await driver.observe()).obstacle
            with pytest.raises(DriverError, match="cannot be written"):
                await driver.activate()

            (small / "filler").unlink()
            assert (await driver.observe()).obstacle == ""
            await driver.activate()


async def test_a_file_of_somebody_else_is_an_obstacle(real: RealBird) -> None:
    real.include.write_text("define failover_metric = 300;\nprotocol kernel {}\n")
    assert "was not written by failoverd" in (await real.driver().observe()).obstacle


async def test_a_disk_that_hangs_is_an_obstacle(real: RealBird, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include_file, "DISK_TIMEOUT_S", 0.1)
    real.include.rename(real.directory / "away")
    os.mkfifo(real.include)  # who reads it waits for somebody who writes
    driver = real.driver()
    for _ in range(2):
        seen = await driver.observe()
        assert seen.level is Level.STANDBY
        assert seen.obstacle == f"{real.include}: its disk does not answer within 0.1 s"
    with real.include.open("w") as answer:
        (real.directory / "away").rename(real.include)
        answer.write("")
    monkeypatch.undo()
    assert (await driver.observe()).obstacle == ""


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
        ((GREETING, b"0023 100\n0023 300\n"), "sends more than its reply"),
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
        fake.include.write_text(f"{include_file.HEADER}\ndefine failover_metric = 100;\n")
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
    assert include_file.defines(fake.include.read_text()) == {"failover_metric": "100"}


def recordings() -> list[Path]:
    return sorted((Path(__file__).resolve().parents[2] / "recordings/bird").glob("*.txt"))


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.stem)
def test_recorded_replies(path: Path) -> None:
    """Every reply in a recording is `> question` and what bird said; whatever the pieces in which it arrives."""
    told: dict[str, control_socket.Reply] = {}
    for part in path.read_text().split("> ")[1:]:
        question, _, answer = part.partition("\n")
        for size in (1, 7, len(answer)):
            parser = control_socket.Parser()
            data = answer.encode()
            replies = [parser.feed(data[at : at + size]) for at in range(0, len(data), size)]
            assert replies[:-1] == [None] * (len(replies) - 1)
            assert replies[-1] is not None
            told[question] = replies[-1]
    assert told["eval failover_metric"].lines == ((control_socket.EVALUATED, "300"),)
    assert told["eval nosuch"].code >= ERRORS
    assert told["configure check"].code == control_socket.CHECKED
    assert told["configure timeout 30"].code == control_socket.RECONFIGURED
    assert told["configure confirm"].code == control_socket.CONFIRMED
    assert told["configure check # broken"].code >= ERRORS
    assert "failoverd.conf:1:" in told["configure check # broken"].text
    assert any(code == control_socket.ROUTE for code, _ in told["show route 192.0.2.0/24 export upstream"].lines)
    assert told["show route 198.51.100.0/24 export upstream"].code >= ERRORS


def test_there_are_recordings() -> None:
    assert len(recordings()) == 3


def test_commands_are_pasteable() -> None:
    options = bird.Options(symbol="m", active=1, standby=3, protocol="up-1", prefix="2001:db8::/32")
    driver = bird.make(options, SPEC)
    assert driver.commands(Verb.ACTIVATE) == (
        "sed -i 's/^define m = .*/define m = 1;/' /etc/bird/failoverd.conf",
        "birdc configure check",
        "birdc configure timeout 30",
        "birdc eval m",
        """birdc show route 2001:db8::/32 export "'up-1'\"""",
        "birdc configure confirm",
    )
    assert "birdc show route" not in " ".join(driver.commands(Verb.DEACTIVATE))
    required = bird.make(dataclasses.replace(options, require_session=True), SPEC)
    assert required.commands(Verb.ACTIVATE) == (
        """birdc show protocols "'up-1'\"""",
        *driver.commands(Verb.ACTIVATE),
    )
    assert required.commands(Verb.DEACTIVATE) == driver.commands(Verb.DEACTIVATE)


@pytest.mark.parametrize(
    ("more", "words"),
    [({"active": 3}, "must differ"), ({"protocol": "up"}, "both or neither"),
     ({"protocol": "up", "prefix": "192.0.2.1/24"}, "prefix: .*host bits"),
     ({"require_session": True}, "require_session: needs protocol and prefix")],
)  # fmt: skip
def test_options_are_held_against_each_other(more: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bird.Options(**{"symbol": "m", "active": 1, "standby": 3} | more)  # type: ignore[arg-type]
