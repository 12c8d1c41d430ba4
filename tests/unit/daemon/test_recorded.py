"""Every record of the daemon: what is not understood, by whatever release it was written, is nothing, and is said."""

from __future__ import annotations

import inspect
import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import failoverd
from failoverd.daemon import orphans, reboot, reporting, self_fencing
from failoverd.daemon.intake import last_events
from failoverd.daemon.intake.errors import Rejections
from failoverd.daemon.keepalived import vrrp_state, watch
from failoverd.daemon.persistence import at_boot, followed, off, permits, released, rivals, standing_alarms, wishes
from failoverd.drivers import exec as exec_driver
from failoverd.drivers.drbd import staleness
from failoverd.drivers.xen import look
from failoverd.records import records
from failoverd.trouble import TroubleKind, Troubles
from tests.unit.daemon.running_daemon import RunningDaemon

pytestmark = pytest.mark.usefixtures("own_network")


def last_event() -> Any:
    return last_events.LastEvents(records, Rejections(lambda: 0.0)).restore()


def next_transition() -> Any:
    async def first_free_id() -> int:
        return 7

    return reporting.next_transition(SimpleNamespace(path="/history", first_free_id=first_free_id))  # type: ignore[arg-type]


async def speakers() -> Any:
    made = watch.KeepalivedWatch(Path("/fifo"), lambda _names, _condition: None)
    return made.pids, made._speakers


def bus() -> Any:
    made = vrrp_state.Bus(None, lambda _name: None)  # type: ignore[arg-type]
    return made._groups, made._paths


async def left() -> Any:
    return permits.Permits().recall()


def guest() -> Any:
    made = look.DomainFinder("/etc/xen/web.cfg")
    return made.name, made._uuid


EXEC = exec_driver.Exec(exec_driver.Options(activate=("true",), deactivate=("true",)))

#: By the name of its record, who reads it, and what it comes to.
RECORDS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "boot": (at_boot, lambda: at_boot.configured(frozenset({"VI_1"}))),
    "rivals": (rivals, rivals.recall),
    "followed": (followed, followed.recall),
    "off": (off, off.recall),
    "self-fencing": (self_fencing, lambda: self_fencing.SelfFencing().take_over(None)),
    "permits": (permits, left),
    "alarms": (standing_alarms, standing_alarms.recall),
    "released": (released, lambda: released.recall((), 0.0)),
    "wishes": (wishes, lambda: wishes.Wishes(Path("/state"), lambda _: None).recall(0.0)),
    "transition": (reporting, next_transition),
    "keepalived-dbus": (vrrp_state, bus),
    "keepalived": (watch, speakers),
    "last-events": (last_events, last_event),
    "maybe-active": (reboot, reboot.recall),
    "step-1": (orphans, orphans.find),
    "xen-%2Fetc%2Fxen%2Fweb.cfg": (look, guest),
    EXEC._record: (exec_driver, EXEC.observe),
    "drbd-r0": (staleness, lambda: staleness.load("r0")),
    "drbd.heard": (staleness, lambda: staleness.heard(staleness.Record())),
}

KEYS = ["told", "instances", "resources", "last", "history", "groups", "paths", "kinds", "daemons", "speakers", "at"]
KEYS += ["nodes", "until", "name", "uuid", "verb", "done", "instance", "met", "up", "wishes", "standing"]
BODIES = {
    "no key that it has": "{}",
    "nothing under each key": json.dumps(dict.fromkeys(KEYS)),
    "a list under each key": json.dumps({key: [["VI_1"]] for key in KEYS}),
    "nested deeply": '{"told": ' + "[" * 100_000,
    "no table": "[1]",
}


async def come_to(recall: Callable[[], Any]) -> Any:
    found = recall()
    return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("record", RECORDS)
async def test_a_record_that_is_not_understood_is_nothing(
    tmp_path: Path, troubles: Troubles, monkeypatch: pytest.MonkeyPatch, record: str, body: str
) -> None:
    said: list[tuple[TroubleKind, str]] = []
    monkeypatch.setattr(troubles, "begin", lambda kind, _reason, *, subject, **_: said.append((kind, subject)))
    _, recall = RECORDS[record]
    records.move(tmp_path)
    nothing = await come_to(recall)
    (tmp_path / "records").mkdir(exist_ok=True)
    file = tmp_path / "records" / record
    file.write_text(BODIES[body].replace("{", f'{{"boot": "{records.boot}", ', 1).replace(", }", "}"))
    assert await come_to(recall) == nothing
    assert said == [(TroubleKind.RECORD, record)]


def test_every_record_is_among_them() -> None:
    root = Path(failoverd.__file__).parent
    readers = {file for file in root.rglob("*.py") if "records.read(" in file.read_text()}
    assert readers == {Path(module.__file__) for module, _ in RECORDS.values()}


@pytest.mark.parametrize("body", ["{}", '{"told": ' + "[" * 100_000])
def test_a_daemon_starts_whatever_is_recorded(tmp_path: Path, body: str) -> None:
    node = RunningDaemon(tmp_path)
    node.instance()
    node.resource("web")
    node.start()
    node.hook("MASTER")
    node.until("active")
    node.stop(signal.SIGKILL)
    found = list((node.run_dir / "records").iterdir())
    for file in found:
        file.write_text(body.replace("{", f'{{"boot": "{records.boot}", ', 1).replace(", }", "}"))
    node.start()
    assert "record last-events" in {each["about"] for each in node.status()["troubles"]}
    node.hook("BACKUP")
    node.until("standby")
    node.stop()
