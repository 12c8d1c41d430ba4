"""`python -m tests.lab [PROFILE] [AGENT]`: a laboratory to look around in, until Ctrl-C.

Also what the tests of the clean-up interrupt and kill.
"""

import argparse
import contextlib
import shlex
import signal
import sys
from typing import get_args

from .lab import Lab
from .profiles import Agent, ProfileName


def main() -> None:
    """Start, say how to get in, wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    parser.add_argument("profile", nargs="?", default="hosting", choices=get_args(ProfileName))
    parser.add_argument("agent", nargs="?", default="failoverd", choices=get_args(Agent))
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), Lab(options.profile, agent=options.agent) as lab:
        for node in lab.nodes.values():
            print(f"{node.name}: {shlex.join(node.inside(['bash']))}")
        print(f"upstream: birdc -s {lab.run.work}/upstream/bird.ctl")
        print(f"ready {lab.run.name}; Ctrl-C ends it")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
