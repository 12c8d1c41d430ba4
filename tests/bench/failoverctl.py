"""failoverctl, as whole processes: what a monitoring system runs every second, and what an operator waits for."""

from __future__ import annotations

import subprocess
import time

from tests.unit.daemon.running_daemon import ROOT

from .daemon import Daemon
from .row import Row, median, spread

_ROUNDS = 60
_WARM_UP = 5
#: As the package installs it: Debian's interpreter, no virtual environment.
_PROGRAM = ["/usr/bin/python3", "-m", "failoverd.ctl"]
#: Milliseconds, from exec to exit.
_TARGETS = {"check": 40.0, "status": 80.0}


def measure() -> list[Row]:
    """Run each verb against a daemon with five resources, in turns with an interpreter that does nothing."""
    with Daemon() as daemon:
        daemon.instance()
        for number in range(5):
            daemon.sleeper(f"thing-{number}", 0)
        daemon.start()
        daemon.say("BACKUP")
        asked = {verb: [*_PROGRAM, "--socket", str(daemon.run_dir / "control.sock"), verb] for verb in _TARGETS}
        contestants = {**asked, "nothing": ["/usr/bin/python3", "-c", ""]}
        took: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(_WARM_UP + _ROUNDS):
            for name, argv in contestants.items():
                started = time.monotonic_ns()
                done = subprocess.run(argv, check=False, timeout=30, stdout=subprocess.PIPE, text=True, cwd=ROOT)
                assert done.returncode in (0, 1), done.stdout  # 1: check's WARNING
                if number >= _WARM_UP:
                    took[name].append((time.monotonic_ns() - started) / 1e6)
    return [
        Row(
            what=f"failoverctl {verb}, exec to exit",
            ours=spread(took[verb]),
            theirs=f"python3 -c '' {spread(took['nothing'])}",
            target=f"{target:.0f} ms",
            met=median(took[verb]) <= target,
        )
        for verb, target in _TARGETS.items()
    ]
