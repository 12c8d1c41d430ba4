"""The port and the file follow the configuration, and nothing about them is an error of the daemon."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from failoverd.daemon.config.keys import MetricsOptions
from failoverd.daemon.metrics.exporter import Exporter
from failoverd.trouble import TroubleKind, Troubles


async def text() -> bytes:
    return b"failoverd_x 1\n"


@pytest.fixture
async def exporter() -> AsyncIterator[Exporter]:
    made = Exporter(text, retry=0.01)
    yield made
    await made.close()


@pytest.fixture
def ports() -> list[int]:
    """Two that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    numbers = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return numbers


async def listens(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    answered = (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.transport.abort()
    return answered


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def until_it_listens(port: int) -> None:
    async with asyncio.timeout(30):
        while not await listens(port):
            await asyncio.sleep(0.001)


async def until_it_is_closed(port: int) -> None:
    async with asyncio.timeout(30):
        while await listens(port):
            await asyncio.sleep(0.001)


async def test_it_is_off_until_it_is_configured(exporter: Exporter) -> None:
    exporter.configure(MetricsOptions())
    exporter.change()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_port_is_moved_and_turned_off(exporter: Exporter, ports: list[int]) -> None:
    first, second = ports
    exporter.configure(MetricsOptions(listen=f"127.0.0.1:{first}"))
    await until_it_listens(first)
    exporter.configure(MetricsOptions(listen=f"127.0.0.1:{second}"))
    await until_it_listens(second)
    assert not await listens(first)
    exporter.configure(MetricsOptions())
    await until_it_is_closed(second)


async def test_the_file_is_moved_and_turned_off(exporter: Exporter, tmp_path: Path) -> None:
    first, second = tmp_path / "first.prom", tmp_path / "second.prom"
    exporter.configure(MetricsOptions(file=str(first)))
    await until(first.exists)
    exporter.configure(MetricsOptions(file=str(second)))
    await until(second.exists)
    assert not first.exists()
    exporter.configure(MetricsOptions())
    await until(lambda: not second.exists())


async def test_several_changes_at_once_end_with_the_last(exporter: Exporter, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.prom" for number in range(4)]
    for file in files:
        exporter.configure(MetricsOptions(file=str(file)))
    await until(files[-1].exists)
    assert list(tmp_path.glob("*.prom")) == files[-1:]


async def test_a_port_in_use_is_a_trouble_and_tried_again(
    exporter: Exporter, ports: list[int], troubles: Troubles
) -> None:
    with socket.create_server(("127.0.0.1", ports[0])):
        exporter.configure(MetricsOptions(listen=f"127.0.0.1:{ports[0]}"))
        await until(lambda: bool(troubles.standing))
        [trouble] = troubles.standing
        assert trouble.kind is TroubleKind.METRICS_PORT
        assert trouble.text.startswith(f"cannot listen at 127.0.0.1:{ports[0]} (")
        assert trouble.text.endswith(f"; run: ss -ltnp sport = :{ports[0]}")
    await until_it_listens(ports[0])
    assert not troubles.standing


async def test_a_port_in_use_that_is_no_longer_wanted_is_no_trouble(
    exporter: Exporter, ports: list[int], troubles: Troubles
) -> None:
    with socket.create_server(("127.0.0.1", ports[0])):
        exporter.configure(MetricsOptions(listen=f"127.0.0.1:{ports[0]}"))
        await until(lambda: bool(troubles.standing))
        exporter.configure(MetricsOptions())
        await until(lambda: not troubles.standing)
