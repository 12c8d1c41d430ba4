"""A transition with every kind of wait, as the daemon answers it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

_BEGUN = datetime(2026, 11, 21, 3, 11, 57, tzinfo=UTC)

#: A name that must not become HTML, nor reach a terminal as it is.
EVIL = "hook <b>&\x1b[2J"


def at(seconds: float) -> str:
    return (_BEGUN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def step(resource: str, start: float, end: float | None, outcome: str | None = "done", **more: str) -> dict[str, Any]:
    ended = None if end is None else at(end)
    known = {"resource": resource, "verb": "activate", "started": at(start), "ended": ended, "outcome": outcome}
    return {**known, "command": "", "detail": "", **more}


def wait(resource: str, kind: str, start: float, end: float, *names: str) -> dict[str, Any]:
    return {"resource": resource, "kind": kind, "names": list(names), "started": at(start), "ended": at(end)}


def partial() -> dict[str, Any]:
    """The disk is refused once, a guest fails for good, the other one takes long, and the prefix waits for room."""
    no_memory = "xl create /etc/xen/mail.cfg: exit status 1: libxl: error: not enough memory"
    names = ("web-disk", "mail-disk", "mail", "web", "prefix", EVIL)
    return {
        "id": 118,
        "instance": "VI_1",
        "target": "active",
        "cause": "keepalived reported MASTER",
        "started": at(0),
        "ended": at(17.4),
        "outcome": "partial",
        "reason": f"mail: {no_memory}; observed standby",
        "steps": [
            step(
                "web-disk",
                0.42,
                0.9,
                "failed",
                command="drbdadm primary web",
                detail="drbdadm primary web: exit status 17: web: State change failed: (-2) Need access",
            ),
            step("mail-disk", 0.42, 0.61, command="drbdadm primary mail", detail="Primary, UpToDate"),
            step("mail", 0.65, 6.1, "failed", command="xl create /etc/xen/mail.cfg\nxl list -v", detail=no_memory),
            step("web-disk", 1.92, 2.4, command="drbdadm primary web", detail="Primary, UpToDate"),
            step("web", 2.45, 14.9, command="xl create /etc/xen/web.cfg\nxl list -v", detail="running, domain 14"),
            step("prefix", 15.6, 15.71, command="birdc configure confirm", detail="failover_metric = 100"),
            step(EVIL, 15.75, 17.38, command="echo '</pre><script>alert(1)</script>'", detail=EVIL),
        ],
        "waits": [
            *(wait(name, "vip", 0, 0.42) for name in names),
            wait("mail", "resource", 0.42, 0.65, "mail-disk"),
            wait("web", "resource", 0.42, 2.45, "web-disk"),
            wait("prefix", "resource", 0.42, 14.95, "web"),
            wait(EVIL, "resource", 0.42, 15.75, "prefix"),
            wait("web-disk", "retry", 0.92, 1.92),
            wait("mail", "retry", 6.1, 7.1),
            wait("prefix", "room", 14.95, 15.55),
            wait("prefix", "check", 15.55, 15.6),
            wait("web", "check", 0.42, 0.421),
        ],
    }
