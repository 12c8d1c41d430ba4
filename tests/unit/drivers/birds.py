"""Real birds for the tests: 2 as this machine has it, 1.6 and 3 as tests/birds.sh unpacks them. No network."""

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from failoverd.core.spec import ResourceSpec
from failoverd.drivers import bird
from failoverd.drivers.bird import control_socket
from failoverd.ports.errors import DriverError

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = ("1.6", "2", "3")
PREFIX = "192.0.2.0/24"
ELSEWHERE = "198.51.100.0/24"  # of which bird has no route

TABLES = {
    "1.6": ("table elsewhere;", "", "table master;"),
    "2": ("ipv4 table elsewhere;", "ipv4;", "table master4;"),
    "3": ("ipv4 table elsewhere;", "ipv4;", "table master4;"),
}

CONFIG = """include "{include}";
log "{log}" all;
router id 192.0.2.1;
{table}
protocol device {{ scan time 60; }}
protocol static originated {{ {channel} route 192.0.2.0/24 blackhole; }}
protocol pipe {upstream} {{
  {master}
  peer table elsewhere;
  import none;
  export filter {{ bgp_med = failover_metric; if failover_metric > 1000 then reject; accept; }};
}}
"""


def program(version: str) -> str:
    """The daemon; fetched when it is not here yet."""
    if version == "2":
        found = shutil.which("bird", path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert found, "install bird2"
        return found
    run = ROOT / ".cache/birds" / version / "run"
    if not run.exists():
        subprocess.run(["sh", str(ROOT / "tests/birds.sh")], check=True, timeout=100, stdin=subprocess.DEVNULL)
    return str(run)


@dataclass
class RealBird:
    """A bird in a directory of its own, and what a resource of it is called."""

    version: str
    directory: Path
    process: asyncio.subprocess.Process | None = None
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        return self.directory / "ctl"

    @property
    def include(self) -> Path:
        return self.directory / "failoverd.conf"

    @property
    def config(self) -> Path:
        return self.directory / "bird.conf"

    def write_config(self, more: str = "", upstream: str = "upstream") -> None:
        table, channel, master = TABLES[self.version]
        self.config.write_text(
            CONFIG.format(
                include=self.include,
                log=self.directory / "log",
                table=table,
                channel=channel,
                master=master,
                upstream=upstream,
            )
            + more
        )

    async def set_upstream(self, disabled: str) -> None:
        """Take the session that the prefix goes out to down ("disabled;"), or up again ("")."""
        self.config.write_text(re.sub(r"(upstream|'.*') {.*", rf"\1 {{ {disabled}", self.config.read_text()))
        assert (await self.ask("configure")).code in {3, 4}
        wanted = "down" if disabled else "up"
        while wanted not in [row[3] for row in await self._protocols() if row[1] == "Pipe"]:
            await asyncio.sleep(0.01)

    async def _protocols(self) -> list[list[str]]:
        """Name, kind, table and state of each, and more."""
        return [
            text.split() for code, text in (await self.ask("show protocols")).lines if code == control_socket.PROTOCOL
        ]

    def driver(self, symbol: str = "failover_metric", active: int = 100, standby: int = 300, **more: Any) -> bird.Bird:
        options = bird.Options(
            symbol=symbol, active=active, standby=standby, include=str(self.include), socket=str(self.socket), **more
        )
        return bird.make(options, ResourceSpec(instance="VI_1", name="prefix", driver="bird"))

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            program(self.version), "-f", "-c", str(self.config), "-s", str(self.socket),
            "-P", str(self.directory / "pid"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(DriverError):
                    async with control_socket.session(str(self.socket)):
                        return
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.process = None

    async def ask(self, question: str) -> control_socket.Reply:
        async with control_socket.session(str(self.socket)) as session:
            return await session.ask(question)

    async def announced(self, protocol: str = "upstream") -> str:
        """The metric with which the route goes out, as bird itself says."""
        reply = await self.ask(f"show route {PREFIX} all export '{protocol}'")
        for _, text in reply.lines:
            name, _, value = text.strip().partition(": ")
            if name in {"BGP.med", "bgp_med"}:
                return value
        return "nothing"


@contextlib.asynccontextmanager
async def running(
    version: str, directory: Path, defines: str = "define failover_metric = 300;\n"
) -> AsyncIterator[RealBird]:
    one = RealBird(version, directory)
    one.write_config()
    one.include.write_text(defines)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
