"""``failoverctl check``: one line and an exit status, for monitoring systems and for keepalived's vrrp_script.

It follows the Monitoring Plugins Development Guidelines: SERVICE STATUS - text | performance data.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from failoverd.ctl import arguments, client, health
from failoverd.ctl.health import Problem, Severity
from failoverd.ctl.page import clean
from failoverd.ctl.verbs import Answer, Verb

_DETAILS = """\
One line, with performance data after the bar. The exit status is that of a
monitoring plugin:
  0  OK        every instance is healthy, or on its way without a failure
  1  WARNING   it serves, or could; something needs attention
  2  CRITICAL  a resource or VIP is not served here, or may be served twice, or
               failoverd does not answer
  3  UNKNOWN   no instance is configured, or failoverctl cannot tell

In keepalived.conf, as a vrrp_script, give --only-critical: a warning must not
move mastership.
"""

#: Exit status and word for what cannot be told.
_UNKNOWN = 3

_WORDS = {0: "OK", Severity.WARNING: "WARNING", Severity.CRITICAL: "CRITICAL", _UNKNOWN: "UNKNOWN"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    arguments.instance(parser, nargs="?")
    parser.add_argument("--only-critical", action="store_true", help="exit with 0 unless the status is CRITICAL")


def _run(asked: argparse.Namespace) -> int:
    status, line = _checked(asked)
    sys.stdout.write(f"FAILOVERD {_WORDS[status]} - {line}\n")
    sys.stdout.flush()
    return status if status == Severity.CRITICAL or not asked.only_critical else 0


def _checked(asked: argparse.Namespace) -> tuple[int, str]:
    params = {} if asked.instance is None else {"instance": asked.instance}
    try:
        answer = client.ask(asked.socket, "status", params)
        instances: Mapping[str, Any] = answer.get("instances") or {}
        if not instances:
            return _UNKNOWN, "no instance is configured"
        found = _problems(answer, instances, only=asked.instance)
        texts = [problem.text for problem in found] or [_healthy(name, each) for name, each in instances.items()]
        status = max((problem.severity for problem in found), default=0)
        data = _performance_data(instances, len(found))
    except client.UnreachableError as error:
        return Severity.CRITICAL, _plain(f"{error.error}; {error.hint}")
    except client.CtlError as error:
        return _UNKNOWN, _plain(f"{error.error}; {error.hint}" if error.hint else error.error)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return _UNKNOWN, _plain(f"cannot understand the answer ({error}); {client.OTHER_RELEASE}")
    return status, f"{_plain('; '.join(texts))} | {data}"


def _problems(answer: Answer, instances: Mapping[str, Any], *, only: str | None) -> list[Problem]:
    """Of these instances and, where none was asked for, of failoverd itself; the gravest first."""
    found = [
        Problem(problem.severity, f"{name} {problem.text}")
        for name, instance in instances.items()
        for problem in health.problems(instance)
    ]
    found += [Problem(Severity.WARNING, f"stray: {each['text']}") for each in answer.get("strays") or ()]
    if told := health.maintenance(answer):
        found.append(Problem(Severity.WARNING, f"maintenance {told}"))
    found += [Problem(Severity.WARNING, text) for text in health.silent_witnesses(answer)]
    found += [Problem(Severity.WARNING, text) for text in health.unconfigured_standby(answer)]
    if only is None:
        found += [Problem(Severity.WARNING, f"failoverd: {each['text']}") for each in answer.get("troubles") or ()]
    return sorted(found, key=lambda problem: -problem.severity)


def _healthy(name: str, instance: Mapping[str, Any]) -> str:
    return f"{name} {instance['phase']}"


def _performance_data(instances: Mapping[str, Any], problems: int) -> str:
    """For each instance whether it is active here, and for how many seconds it has been in its phase."""
    now = time.time()
    data = [f"problems={problems};;;0"]
    for name, instance in instances.items():
        label = clean(name).replace("'", "''").replace("=", "_")
        since = datetime.fromisoformat(instance["since"]).timestamp()
        data.append(f"'{label} active'={int(instance['phase'] == 'active')};;;0;1")
        data.append(f"'{label} since'={max(now - since, 0):.0f}s;;;0")
    return " ".join(data)


def _plain(text: str) -> str:
    """One line without the bar, which begins the performance data."""
    return clean(" ".join(text.split())).replace("|", "/")


VERB = Verb(
    position=15,
    summary="check every instance, or one, for a monitoring system",
    details=_DETAILS,
    examples=(
        ("failoverctl check", "every instance, and failoverd itself"),
        ("failoverctl check VI_1", "one instance"),
    ),
    arguments=_arguments,
    action=_run,
)
