"""`make demo`: a node dies, comes back, and an operator hands it mastership; a person sees the traffic follow the VIP.

Plays these stories of the laboratory with everything real, tells what happens as it happens, and ends by itself.
Every number that it prints was measured in that very run. Leaves nothing behind, also when it is interrupted.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from . import operating, status_client
from .client import INTERVAL_MS
from .lab import Lab, missing_requirements
from .profiles import ACTIVE_METRIC, PRIORITY, STANDBY_METRIC, NodeName, Profile
from .witness import Fact, Moments, Witness

#: With what the laboratory has already, the site of examples/hosting with a unit in the place of the guest.
GUEST = """needs = ["vpn"]

[instance.VI_1.resource.vpn]
driver = "unit"
unit = "vpn.service"
"""
#: The beginning of the last part.
HANDOVER = """failoverctl asks the other nodes first. Then right deactivates its resources,
and only then does the address move. center is kept in standby meanwhile.
The nodes have no ssh, so [peers] has another command in its place."""
_EXPLORE = ".venv/bin/python -m tests.lab hosting"
_FAILOVER_SECONDS = 30.0
_WIDTH = 74

_STYLES = {"bold": "1", "faint": "2", "red": "1;31", "green": "32", "yellow": "33", "cyan": "36"}
_COLOURS = {"left": "red", "right": "green", "upstream": "yellow", "client": "cyan"}


def main() -> int:
    """Play the story; 0 when it went as it should, 1 with one line when it did not, 128 + N after a signal."""
    if missing := missing_requirements():
        print(f"demo: {_remedy(missing)}", file=sys.stderr)
        return 1
    started = time.monotonic()
    try:
        with Lab("hosting", track=True, extra_config=GUEST) as lab:
            _play(lab, started)
        _say(
            f"\nDone in {time.monotonic() - started:.0f} s, everything is removed again. "
            f"Explore one: {_EXPLORE}; all stories: make test"
        )
    except KeyboardInterrupt as interrupt:
        number = signal.Signals[interrupt.args[0]] if interrupt.args else signal.SIGINT
        print("\ndemo: interrupted; everything is removed again", file=sys.stderr)
        return 128 + number
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print("\ndemo:", "; ".join([str(error), *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 1
    return 0


def _remedy(missing: Sequence[str]) -> str:
    programs = [name for name in missing if name != "root"]
    if not programs:
        return "network namespaces need root; try: sudo make demo"
    return f"not installed: {', '.join(programs)}; as root, this installs what is needed: sh tests/packages.sh"


def introduction(profile: Profile) -> str:
    """What there is to see, and which parts of the site are played by something else."""
    return f"""Three nodes in network namespaces of this machine, each with a real systemd,
keepalived, bird and failoverd. keepalived gives {profile.addresses[0]} to one, the MASTER.

                          ┌─ left    priority {PRIORITY["left"]}
    client ── upstream ───┼─ right   priority {PRIORITY["right"]}
                          └─ center  priority {PRIORITY["center"]}

All three announce {profile.prefixes[0]} to upstream by BGP, the MASTER with metric
{ACTIVE_METRIC}, the others with {STANDBY_METRIC}. When keepalived moves the address, failoverd starts the
guest there, and then moves the metric. This is the site of examples/hosting,
but a unit replaces the guest and its disk, and BFD is slower.
The client sends a packet to {profile.addresses[0]} every {INTERVAL_MS} ms."""


def _play(lab: Lab, started: float) -> None:
    _title("The laboratory")
    _say(introduction(lab.profile))
    lab.client.start()
    lab.wait_until_answered_by("left")
    _say(f"\nReady after {time.monotonic() - started:.1f} s.\n{_routes(lab)}")
    _status(lab, "left")
    _status(lab, "right")

    _title("left is killed: all its processes, its link cut")
    cut, moments = _kill_left(lab)
    lab.wait_until_served_by("right")
    _say(f"\n{_routes(lab)}")
    _status(lab, "right")
    _title("What it took")
    _table(lab, cut, moments)

    _title("left is switched on again")
    _bring_left_back(lab)

    _title("An operator hands mastership to left")
    _hand_over(lab)


def _kill_left(lab: Lab) -> tuple[int, Moments]:
    witness = Witness(lab, dying="left", heir="right")
    with ThreadPoolExecutor(1) as other:
        # In another thread, so that it is told what happens while the node is still being taken down.
        other.submit(lambda: witness.cut(lab.left.kill()))
        for fact in witness.facts(within=_FAILOVER_SECONDS):
            _tell(fact, witness.moments.cut)
        return witness.moments.cut, witness.moments


def _table(lab: Lab, cut: int, moments: Moments) -> None:
    rows = [
        ("right: keepalived loses left and becomes MASTER", cut, moments.master),
        ("right: failoverd receives the event", moments.master, moments.told),
        *((f"right: failoverd does: {step.name}", step.started, step.ended) for step in moments.steps),
        ("upstream: has right's new metric", moments.told, moments.metric),
        ("upstream: drops the route by left", cut, moments.gone),
        ("client: no answer", moments.last_answer, moments.first_answer),
    ]
    _say(_painted("bold", f"{'milliseconds after the cut':<53}{'from':>7}{'to':>7}{'took':>7}"))
    for what, begin, end in rows:
        times = (begin - cut, end - cut, end - begin)
        _say(f"{what:<53}" + "".join(f"{_milliseconds(each):>7}" for each in times))
    gap = lab.client.report(since=cut).longest_gap
    assert gap is not None
    sent = [packet for packet in lab.client.packets() if gap.start <= packet.sent <= gap.end]
    work = max((step.ended for step in moments.steps), default=moments.told) - moments.master
    _say(
        f"\nOf {len(sent)} packets sent without an answer {gap.lost} are lost. "
        + _painted("bold", f"The gap is {gap.milliseconds:.0f} ms.")
        + f"\nfailoverd's part, from keepalived's MASTER to the end of its work, is {_milliseconds(work)} ms;\n"
        "keepalived and upstream need the rest to detect the loss of left."
    )


def _bring_left_back(lab: Lab) -> None:
    history = status_client.history(lab.right)
    on = time.monotonic_ns()
    lab.left.start()
    lab.wait_for_metrics({"left": STANDBY_METRIC, "right": ACTIVE_METRIC, "center": STANDBY_METRIC})
    lab.wait_until_hears_master("left")
    operating.wait_until_fit(lab, "left")
    report = lab.client.report(since=on)
    new = len(status_client.history(lab.right)) - len(history)
    _say(
        f"It has booted, and stays standby until an operator says otherwise.\n\n{_routes(lab)}\n"
        f"right: {new or 'no'} new transition\n"
        f"client: {report.sent} packets meanwhile, {report.lost} lost, the others answered by "
        f"{' and '.join(sorted(report.answered_by))}"
    )
    _status(lab, "left")


def _hand_over(lab: Lab) -> None:
    operating.name_peers(lab)
    _say(HANDOVER)
    page, report = operating.hand_over(lab, "right", "left")
    _say(_painted("faint", "\nright# failoverctl handover VI_1 --to left"))
    _say(page.rstrip())
    lab.wait_until_served_by("left")
    _say(
        f"\n{_routes(lab)}\n"
        f"client: {report.sent} packets meanwhile, "
        + _painted("bold", f"{report.lost} lost")
        + f", the others answered by {' and '.join(sorted(report.answered_by))}"
    )


def _routes(lab: Lab) -> str:
    prefix = lab.profile.prefixes[0]
    metrics = lab.upstream.route_metrics(prefix)
    listed = ", ".join(f"{node} {metric}" for node, metric in sorted(metrics.items(), key=lambda item: item[1]))
    best = _painted("bold", str(lab.upstream.best_next_hop(prefix)))
    return f"upstream's routes to {prefix}: {listed}; it uses {best}"


def _status(lab: Lab, name: NodeName) -> None:
    _say(_painted("faint", f"\n{name}# failoverctl status"))
    _say(lab.nodes[name].failoverctl("status").stdout.rstrip())


def _tell(fact: Fact, cut: int) -> None:
    who = _painted(_COLOURS.get(fact.who, "bold"), f"{fact.who:<9}")
    _say(f"{_milliseconds(fact.at - cut):>5} ms  {who} {fact.what}")
    for line in fact.below:
        _say(_painted("faint", f"{'':<19} {line}"))


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.0f}"


def _title(text: str) -> None:
    _say("\n" + _painted("bold", f"── {text} ".ljust(_WIDTH, "─")) + "\n")


def _painted(style: str, text: str) -> str:
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_STYLES[style]}m{text}\033[0m"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
