"""The daemon's entry: wires everything, and maps errors to exit codes."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import os
import signal
import sys
from pathlib import Path

from failoverd import __version__, log
from failoverd.daemon import config
from failoverd.daemon.clock import Loop
from failoverd.daemon.config import ConfigError
from failoverd.daemon.control import ControlError
from failoverd.daemon.intake import IntakeError
from failoverd.daemon.premises import PremisesError
from failoverd.daemon.service import Service
from failoverd.daemon.settings import Settings
from failoverd.drivers import spawn
from failoverd.records import LockedError

_log = log.get("main")

_FORMATS = "for a person, as JSON lines, or as journald's fields (default: %(default)s)"


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="failoverd",
        description="Makes this machine follow its VIP: hears keepalived, and moves routes and services in order.",
        epilog="SIGHUP reads the configuration again. SIGTERM ends the daemon: what is on its way to standby gets "
        "there first, all else stays as it is. Exit status: 0 done, 64 wrong usage, 73 a socket or file cannot be "
        "had, 78 the configuration has errors. See failoverd(8).",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/failoverd/failoverd.toml"),
        metavar="FILE",
        help="the configuration; conf.d/*.toml beside it is read too (default: %(default)s)",
    )
    parser.add_argument(
        "--runtime-dir",
        type=Path,
        default=Path("/run/failoverd"),
        metavar="DIR",
        help="sockets, keepalived's FIFO and the spool (default: %(default)s)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=Path("/var/lib/failoverd"),
        metavar="DIR",
        help="the history (default: %(default)s)",
    )
    parser.add_argument("--node", metavar="NAME", help="the name of this node (default: as configured, or the host's)")
    parser.add_argument("--log-format", choices=log.FORMATS, default="console", help=_FORMATS)
    parser.add_argument("--check", action="store_true", help="check the configuration, say what is wrong, and end")
    parser.add_argument("--version", action="version", version=f"failoverd {__version__}")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}\n")


def main() -> int:
    """Run the daemon. Exit codes are those of sysexits.h: 64 usage, 73 sockets or files, 78 configuration."""
    arguments = _arguments().parse_args()
    try:
        configuration = config.load(arguments.config, arguments.node)
    except ConfigError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return os.EX_CONFIG
    if arguments.check:
        instances = configuration.core.instances.values()
        count = sum(len(instance.resources) for instance in instances)
        print(
            f"{arguments.config}: ok ({len(instances)} instances, {count} resources on {configuration.node})",
        )
        return os.EX_OK
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something that can be reloaded
    faulthandler.enable()  # systemd ends a stuck loop by SIGABRT: this says where it was stuck
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
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(_serve(settings, configuration))
    except (OSError, LockedError, ControlError, IntakeError, PremisesError) as error:
        _log.critical("failoverd cannot serve", reason=str(error))
        return os.EX_CANTCREAT
    finally:
        log.flush()
    return os.EX_OK


async def _serve(settings: Settings, configuration: config.Configuration) -> None:
    gc.freeze()  # what was imported is no garbage, and looking through it takes 25 ms, which may be a failover's
    await Service(settings, configuration).run()


if __name__ == "__main__":
    sys.exit(main())
