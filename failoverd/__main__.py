"""The daemon's command line: parse it, run the daemon, and map errors to exit codes."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from failoverd import __version__, log
from failoverd.command_text import failoverctl
from failoverd.core.spec import Fence
from failoverd.ctl.client import CONFIG_ERRORS_FILE
from failoverd.ctl.page import clean
from failoverd.daemon import config
from failoverd.daemon.clock import Loop
from failoverd.daemon.config import ConfigError, clearance
from failoverd.daemon.config import fence as fences
from failoverd.daemon.config import quorum as witnesses
from failoverd.daemon.config.settings import Settings
from failoverd.daemon.control.server import ControlError
from failoverd.daemon.executor import drivers_of
from failoverd.daemon.intake import IntakeError
from failoverd.daemon.runtime_directory import RuntimeDirectoryError
from failoverd.daemon.wiring import Daemon
from failoverd.drivers import Foresees
from failoverd.osutil import atomic_file
from failoverd.ports import fence, hardware_watchdog, spawn
from failoverd.ports.heartbeat import key
from failoverd.records import LockedError

_log = log.get("main")

_FORMATS = "console for a terminal, JSON lines, or journald's fields (default: %(default)s)"


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="failoverd",
        description="Makes this machine follow its VIP: when keepalived reports a change of state, failoverd moves "
        "routes and services in order.",
        epilog="SIGHUP reloads the configuration. SIGTERM ends the daemon: it finishes demotions, and all other "
        "resources keep their state. Exit status: 0 success, 64 invalid arguments, 73 cannot create a socket or file, "
        "78 the configuration has errors. See failoverd(8).",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/failoverd/failoverd.toml"),
        metavar="FILE",
        help="the configuration; failoverd also reads conf.d/*.toml beside it (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=Path("/run/failoverd"),
        metavar="DIR",
        help="the directory of the sockets, keepalived's FIFO and the spool (default: %(default)s)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=Path("/var/lib/failoverd"),
        metavar="DIR",
        help="the directory of the history (default: %(default)s)",
    )
    parser.add_argument("--node", metavar="NAME", help="the name of this node (default: as configured, or the host's)")
    parser.add_argument("--log-format", choices=log.FORMATS, default="console", help=_FORMATS)
    parser.add_argument("--check", action="store_true", help="check the configuration, print its errors, and exit")
    parser.add_argument("--version", action="version", version=f"failoverd {__version__}")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}\n")


def main() -> int:
    """Run the daemon. Exit codes are those of sysexits.h: 64 arguments, 73 sockets or files, 78 configuration."""
    arguments = _arguments().parse_args()
    try:
        configuration = config.load(arguments.config, arguments.node)
    except ConfigError as error:
        print(*map(clean, error.problems), sep="\n", file=sys.stderr)
        if not arguments.check:
            with suppress(OSError):
                atomic_file.write(arguments.runtime_dir / CONFIG_ERRORS_FILE, "\n".join(error.problems).encode(), 0o644)
        return os.EX_CONFIG
    if arguments.check:
        log.configure("console", "error")
        found = (*_found(configuration), *asyncio.run(_obstacles(configuration)))
        print(*(clean(f"{arguments.config}: {line}") for line in found), sep="\n")
        return os.EX_OK
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the daemon can reload
    faulthandler.enable()  # systemd ends a blocked loop by SIGABRT: log where it was blocked
    spawn.take_descriptors()
    log.configure(arguments.log_format)
    log.catch()
    settings = Settings(
        config=arguments.config,
        runtime_dir=arguments.runtime_dir,
        state_dir=arguments.state_dir,
        node=arguments.node,
    )
    try:
        settings.runtime_dir.mkdir(parents=True, exist_ok=True)
        (settings.runtime_dir / CONFIG_ERRORS_FILE).unlink(missing_ok=True)
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(_serve(settings, configuration))
    except (OSError, LockedError, ControlError, IntakeError, RuntimeDirectoryError) as error:
        _log.critical("failoverd cannot run", reason=str(error))
        return os.EX_CANTCREAT
    finally:
        log.flush()
    return os.EX_OK


def _found(configuration: config.Configuration) -> Iterator[str]:
    """The report on a valid configuration, in lines."""
    instances, node = configuration.core.instances, configuration.node
    here = sum(len(instance.resources) for instance in instances.values())
    every = here + sum(len(instance.elsewhere) for instance in instances.values())
    yield f"ok ({_count(len(instances), 'instance')}, {here} of {_count(every, 'resource')} on {node})"
    if not instances:
        yield "failoverd follows no instance: the configuration has no [instance.NAME]"
    for name, nodes in configuration.elsewhere.items():
        theirs = f"its resources are for {', '.join(nodes)}" if nodes else "it has no resources"
        yield f"no resource on {node} follows {name}: {theirs}"
    if (wait := witnesses.unheeded(configuration.core.quorum, instances.values())) > 0:
        yield (
            "the watchdog resets a node that cannot stop, but no other node waits for that: use a witness etcd://, or "
            f"set takeover_after in [quorum] to at least {math.ceil(wait)} s; see failoverd.toml(5), TABLE [quorum]"
        )
    for absent, names in clearance.unfenceable(configuration.core).items():
        yield (
            f"{absent} carries {', '.join(names)} and has no [fence.{absent}], as another node has: while {absent} is "
            f"silent, no other node is activated before `{failoverctl('confirm-off', absent)}` there; or set "
            "takeover_after in [quorum]; see failoverd.toml(5), TABLE [fence.NODE]"
        )
    if clearance.unguarded(configuration.core):
        yield (
            "without [quorum], a cut between two nodes leaves both MASTER and both active: neither can know whether "
            "the other one is dead. Only a quorum or fencing of DRBD's own then keeps both from writing; "
            "see failoverd.toml(5), TABLE [quorum]"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


async def _obstacles(configuration: config.Configuration) -> list[str]:
    """The errors that are found on this machine, in lines: of drivers, fence agents, the watchdog and the key.

    They do not make the configuration invalid.
    """
    asked = {spec: driver for spec, driver in drivers_of(configuration.core).items() if isinstance(driver, Foresees)}
    texts = await asyncio.gather(*(driver.obstacle() for driver in asked.values()))
    found = [f"{spec.instance}.{spec.name}: {text}" for spec, text in zip(asked, texts, strict=True) if text]
    others = fences.others(configuration.core.fences, configuration.node)
    wrong = await asyncio.gather(*map(_fence_obstacles, others.values()))
    if configuration.heartbeat is not None and (problem := key.problem(configuration.heartbeat.key_file)) is not None:
        found.append(f"heartbeat.key_file: {problem}")
    device = None if configuration.core.quorum is None else configuration.core.quorum.watchdog
    if device is not None and (unfit := hardware_watchdog.problem(device)) is not None:
        found.append(f"quorum.watchdog: {unfit}")
    return [*found, *(f"fence.{node}: {text}" for node, texts in zip(others, wrong, strict=True) for text in texts)]


async def _fence_obstacles(asked: Fence) -> list[str]:
    return [*await fence.obstacles(asked), *(each.reason for each in fence.lacking(asked).values())]


async def _serve(settings: Settings, configuration: config.Configuration) -> None:
    gc.freeze()  # imported modules are no garbage, and scanning them takes 25 ms, which may delay a failover
    await Daemon(settings, configuration).run()


if __name__ == "__main__":
    sys.exit(main())
