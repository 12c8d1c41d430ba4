"""Problems of failoverd's own surroundings, which concern no instance: a full /run, a rejected hook.

Each kind is declared here, once, with its title and remedy; the manual's section TROUBLES is made from that. A trouble
is logged when it begins and when it is over, however often it is found, and `failoverctl status` shows it until then.
This module must not decide whether something is a trouble; the module that finds it does.
"""

from __future__ import annotations

import enum
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from failoverd import alarms, log
from failoverd.command_text import operands

_log = log.get("trouble")


class TroubleKind(enum.Enum):
    """Every kind. `title`: the problem, without a full stop. `remedy`: a command, in which `begin` fills in {NAME}."""

    def __init__(self, code: str, title: str, remedy: str) -> None:
        self.code = code
        self.title = title
        self.remedy = remedy

    ACTIVE_FILES = (
        "active-files",
        "failoverd cannot write the files of the active instances",
        "ls -ld {directory}; df {directory}",
    )
    ALERT_COMMAND = (
        "alert-command",
        "The alert command failed, so nobody gets alarms",
        "failoverctl alert test",
    )
    CONFIGURATION = (
        "configuration",
        "A reload failed, and failoverd uses the previous configuration",
        "failoverd --check && systemctl reload failoverd",
    )
    CONTROL_SOCKET = (
        "control-socket",
        "failoverd cannot accept connections of failoverctl",
        "ss -xp src {path}",
    )
    DRBD_SENDPAGE = (
        "drbd-sendpage",
        "DRBD sends the memory of guests without copying it, so a guest may never end",
        "echo 1 >{parameter}; echo {option} >{file}",
    )
    FENCE_AGENT = (
        "fence-agent",
        "A node cannot be fenced, so nothing is activated here when it is silent",
        "failoverctl doctor",
    )
    FIFO_MOVED = (
        "fifo-moved",
        "keepalived writes into a FIFO that was removed or replaced",
        "systemctl reload keepalived",
    )
    FIFO_PATH = (
        "fifo-path",
        "Another file is at the path of keepalived's FIFO, so events may be lost",
        "ls -ld {path}",
    )
    FIFO_READER = (
        "fifo-reader",
        "Another process reads keepalived's FIFO, so events are lost",
        "systemctl reload keepalived && kill {pid}",
    )
    HEARTBEAT_ADDRESS = (
        "heartbeat-address",
        "The heartbeat cannot use its address or port, so this node hears no other one, and fences none",
        "ip address show to {host}; ss -lunp sport = {port}",
    )
    HEARTBEAT_KEY = (
        "heartbeat-key",
        "The key of the heartbeat cannot be used, or it is not the same on every node",
        "ls -l {file}; sha256sum {file}",
    )
    HEARTBEAT_VERSION = (
        "heartbeat-version",
        "The failoverd of another node says what this one does not understand, which counts as not said",
        "failoverd --version",
    )
    HOOK_ARGUMENTS = (
        "hook-arguments",
        "keepalived.conf runs the hook with invalid arguments",
        "grep -rnw notify /etc/keepalived",
    )
    HOOK_USER = (
        "hook-user",
        "failoverd rejected a hook, because its user may not report events",
        "grep -rw script_user /etc/keepalived",
    )
    HOOK_USERS = (
        "hook-users",
        "failoverd rejected hooks of so many users that it does not name them",
        "grep -rw script_user /etc/keepalived",
    )
    KEEPALIVED_PROCESSES = (
        "keepalived-processes",
        "keepalived reports events, but failoverd finds none of its processes",
        "systemctl status keepalived",
    )
    METRICS_FILE = (
        "metrics-file",
        "failoverd cannot write the file of its metrics, so Prometheus sees old figures",
        "ls -ld {directory}; df {directory}",
    )
    METRICS_PORT = (
        "metrics-port",
        "failoverd cannot listen at the port of its metrics, so Prometheus gets none",
        "ss -ltnp sport = {port}",
    )
    NETLINK = (
        "netlink",
        "failoverd cannot observe the VIPs",
        "ip address show",
    )
    PEER_SILENT = (
        "peer-silent",
        "A node is not heard, so to become active this node would fence it, wait for it or refuse",
        "failoverctl doctor",
    )
    RECORD = (
        "record",
        "failoverd cannot write or parse a record",
        "df {directory}",
    )
    SCRIPT_USER = (
        "script-user",
        "keepalived's script user is unknown, so failoverd may reject hooks",
        "getent passwd {user}",
    )
    SECOND_SPOOL = (
        "second-spool",
        "The second spool is unusable, so events may be lost while /run is full",
        "ls -ld {path}",
    )
    SPOOL = (
        "spool",
        "The spool is unusable, so events may be lost while failoverd does not answer",
        "ls -ld {path}",
    )
    SYSTEMD_SOCKETS = (
        "systemd-sockets",
        "The sockets of failoverd.socket were removed",
        "systemctl restart failoverd.socket",
    )
    TRACK_FILE = (
        "track-file",
        "failoverd cannot write a track file",
        "df {directory}",
    )
    TRACK_FILE_CHANGED = (
        "track-file-changed",
        "Another program wrote a track file",
        "failoverctl status {instance}",
    )
    WATCHDOG_DEVICE = (
        "watchdog-device",
        "failoverd cannot use the watchdog device, so nothing resets this machine if its resources cannot be stopped",
        "wdctl {device}",
    )
    WISHES = (
        "wishes",
        "failoverd cannot read or write the operators' wishes, which must survive a reboot",
        "ls -l {file}; df {file}",
    )
    WITNESS = (
        "witness",
        "failoverd cannot ask a witness, so this node may not be able to serve",
        "ls -l {path}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One trouble. `subject`: the one of its kind, such as a record's name; empty where there is only one.

    `text`: the reason and the remedy, in one line. `since`: in seconds since the epoch. `until`: when it is over unless
    it is found again, in monotonic seconds; None: `Troubles.end` says so.
    """

    kind: TroubleKind
    subject: str = ""
    text: str
    since: float
    until: float | None = None

    @property
    def about(self) -> str:
        """A name that stays the same."""
        return f"{self.kind.code} {self.subject}".rstrip()


class Troubles:
    """All troubles that are not over, the oldest first."""

    def __init__(self) -> None:
        self._standing: dict[tuple[TroubleKind, str], Trouble] = {}

    @property
    def standing(self) -> tuple[Trouble, ...]:
        """All of them."""
        now = time.monotonic()
        for each in tuple(self._standing.values()):
            if each.until is not None and each.until <= now:
                self.end(each.kind, each.subject)
        return tuple(self._standing.values())

    def begin(
        self, kind: TroubleKind, reason: str, *, subject: str = "", lasts: float | None = None, **values: str | Path
    ) -> None:
        """Show the trouble, and log it unless the same text is shown already.

        `lasts`: seconds after which it is over unless it begins again, where nothing reports its end. `values`: for the
        {NAME}s of the kind's remedy.
        """
        quoted = {name: shlex.quote(str(value)) for name, value in values.items() if name != "instance"}
        if "instance" in values:
            quoted["instance"] = operands(str(values["instance"]))
        remedy = kind.remedy.format_map(quoted)
        text = f"{reason}; run: {remedy}"
        before = self._standing.get((kind, subject))
        until = None if lasts is None else time.monotonic() + lasts
        since = before.since if before is not None else time.time()
        trouble = Trouble(kind=kind, subject=subject, text=text, since=since, until=until)
        self._standing[kind, subject] = trouble
        if before is None or before.text != text:
            write = getattr(_log, alarms.TROUBLE.severity.value)
            write("trouble", about=trouble.about, text=text, message_id=alarms.TROUBLE.message_id)

    def end(self, kind: TroubleKind, subject: str = "") -> None:
        """The trouble is over, or never began."""
        trouble = self._standing.pop((kind, subject), None)
        if trouble is not None:
            _log.info("trouble is over", about=trouble.about)


#: Those of this process.
troubles = Troubles()
