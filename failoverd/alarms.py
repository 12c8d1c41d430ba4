"""Every journal line that an operator waits for or must act on, declared once.

The journal's priority and MESSAGE_ID, systemd/failoverd.catalog (``make catalog``) and the manual's section JOURNAL are
all derived from here. A MESSAGE_ID never changes and is never used again: operators search for it. This module must
not decide when a line is written; the core does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from failoverd.core.effects import AlarmKind


class Severity(enum.Enum):
    """How urgent a line is: the log level, by which journald has its PRIORITY."""

    CRITICAL = "critical"  # a service or its data is in danger now
    ERROR = "error"  # an instance cannot do its work here
    WARNING = "warning"  # the instance works, and something needs a check
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of journal line. ``@FIELD@`` is a field of the line, which ``journalctl -x`` fills in.

    `code`: its name, which an alarm has in the field KIND. `title`: what has happened, without a full stop. `text`:
    what it means and how to proceed, as paragraphs. `remedy`: commands, in order. `subject`: the thing concerned;
    `detail`: what the line itself says of this case.
    """

    code: str
    message_id: str
    severity: Severity
    title: str
    text: str
    remedy: tuple[str, ...]
    subject: str = "@INSTANCE@"
    detail: str = "@TEXT@"


DONE = Message(
    code="done",
    message_id="b9a5e701d4c1459eb18d41ae0db3977a",
    severity=Severity.INFO,
    title="The instance has reached its target",
    detail="transition @TRANSITION@: @OUTCOME@",
    text="""\
Every resource was observed in the expected state. No action is needed. The command shows all steps with their commands
and durations.""",
    remedy=("failoverctl history show @TRANSITION@",),
)

TROUBLE = Message(
    code="trouble",
    message_id="4133810515504c0bb1885212afea3de9",
    severity=Severity.ERROR,
    title="failoverd's own surroundings have a problem",
    subject="@ABOUT@",
    text="""\
This concerns no instance: failoverd continues as well as it can. The line above ends with the remedy. `failoverctl
status` shows the trouble until it is over, and then the journal has a line that says so.""",
    remedy=("failoverctl status",),
)

ALARMS = {
    AlarmKind.REFUSED: Message(
        code="refused",
        message_id="ba8b69d44d664327a4147905b2ee7312",
        severity=Severity.ERROR,
        title="keepalived reports MASTER, and failoverd refuses to activate",
        text="""\
An activation would not be safe. This machine holds the VIP and serves nothing behind it. failoverd retries when the
reason has passed.

If the reason will not pass, make another machine MASTER (systemctl stop keepalived), then fix the cause.""",
        remedy=("failoverctl status @INSTANCE@",),
    ),
    AlarmKind.FAILED: Message(
        code="failed",
        message_id="9f0542e0739047c48f7099cf634aad7c",
        severity=Severity.ERROR,
        title="An activation failed",
        text="""\
A resource did not become active, and its retries are used up. Resources that need it were not activated. failoverd
retries at growing intervals, up to every 5 minutes.

Find the failed command and its output in the history, fix the cause, then reset the instance to retry at once.""",
        remedy=("failoverctl history", "failoverctl reset @INSTANCE@"),
    ),
    AlarmKind.ESCALATED: Message(
        code="escalated",
        message_id="acc1edde8c3b4af6af9483b2ceb00564",
        severity=Severity.CRITICAL,
        title="A deactivation failed",
        text="""\
A resource must not be active on this machine, and neither the graceful nor the forced stop has ended it. Act now: it
may already be active on another machine.

Stop by hand what the line above names. If that is not possible (a process in uninterruptible sleep), cut this machine's
power. Then reset the instance.""",
        remedy=("failoverctl status @INSTANCE@", "failoverctl reset @INSTANCE@"),
    ),
    AlarmKind.DRIFT: Message(
        code="drift",
        message_id="04fe90e0694f4aa0a1e7041001c3d796",
        severity=Severity.WARNING,
        title="The state of a resource changed, and failoverd did not change it",
        text="""\
With `drift = "mend"` failoverd repairs it, and the transition shows the result. Find out what changed it: an operator,
a cron job, or a unit that systemd also starts at boot (it must not be enabled).""",
        remedy=("failoverctl history",),
    ),
    AlarmKind.DOUBLE_MASTER: Message(
        code="double-master",
        message_id="6abf19801e00404d9f2c804f028190cc",
        severity=Severity.CRITICAL,
        title="The VIP may be on two machines",
        text="""\
failoverd keeps the resources inactive on a machine whose keepalived is dead or is not MASTER, and checks all of them on
the one that stays MASTER.

On every machine, check which addresses it has, that exactly one keepalived runs, and that it receives the adverts of
the others. Restart a dead keepalived: it removes the VIP that it left behind. Then acknowledge the double master.""",
        remedy=("ip address show", "systemctl status keepalived", "failoverctl acknowledge @INSTANCE@"),
    ),
    AlarmKind.PARTIAL: Message(
        code="partial",
        message_id="2c9d3a4b6c0e4f5d8b7a1e90f3d2c5a8",
        severity=Severity.ERROR,
        title="The instance is active without a resource that may fail",
        text="""\
The resource has `on_failure = "continue"`, so the others are active without it. failoverd retries it at growing
intervals, up to every 5 minutes.

Find the failed command and its output in the history, fix the cause, then reset the instance to retry at once.""",
        remedy=("failoverctl history", "failoverctl reset @INSTANCE@"),
    ),
    AlarmKind.RELEASED: Message(
        code="released",
        message_id="cf783ae8691649fe95292cc9a0c22c57",
        severity=Severity.ERROR,
        title="failoverd released mastership",
        text="""\
This machine was MASTER and could not serve, so failoverd lets another machine be MASTER. The track file keeps
keepalived in FAULT, or at a lower priority, until mastership is taken back: automatically when this machine is a
healthy standby and `take_back_after` has passed (doubled for each release in a row), or at once by a reset. Fix the
cause first.

If keepalived still reports MASTER, it does not watch the track file: add a `track_file` to keepalived.conf, see
failoverd.toml(5). Until then failoverd activates here what it can.""",
        remedy=("failoverctl status @INSTANCE@", "failoverctl reset @INSTANCE@"),
    ),
    AlarmKind.ALONE: Message(
        code="alone",
        message_id="8a4e1b6fd03c4d0c9a6c2b7f51e7d9c4",
        severity=Severity.CRITICAL,
        title="This machine is alone: the witnesses do not answer",
        text="""\
Too few of the witnesses of `[quorum]` have answered for `isolation_timeout`, so another machine may be active. This one
deactivates everything, and the track file keeps keepalived in FAULT, or at a lower priority.

Repair the network of this machine. When the witnesses answer again, it competes for mastership again by itself. If it
is the witnesses that are dead, repair them; until then, an operator who knows that no other machine is active can
remove them from failoverd.toml and reload.""",
        remedy=("failoverctl status", "failoverctl why @INSTANCE@"),
    ),
    AlarmKind.FENCED: Message(
        code="fenced",
        message_id="5d0c7d3f8a9b4c0e9a7be0c6b1f4e2a3",
        severity=Severity.CRITICAL,
        title="Another machine was powered off by its fence agent",
        text="""\
Nobody knew whether the machine was still active, so this one had it powered off, and its fence agent has found it off.
It counts as off until it is heard again.

Find out why it was silent before it is switched on: its disks may be damaged, or its network. failoverd never switches
a machine on.""",
        remedy=("failoverctl status", "failoverctl why @INSTANCE@"),
    ),
    AlarmKind.UNFIT: Message(
        code="unfit",
        message_id="04a0ed7b511e489fbe9f5e022ac210cc",
        severity=Severity.WARNING,
        title="This standby does not compete for mastership",
        text="""\
An activation here would have been refused for 30 s, and the instance has `health = "track"`. So the track file keeps
keepalived in FAULT, or at a lower priority, and a machine that can serve becomes MASTER.

Remove the obstacle. The machine competes again when it has been without an obstacle for some seconds (5 s, then
doubled each time, up to 5 minutes), or at once after a reset.""",
        remedy=("failoverctl status @INSTANCE@", "failoverctl reset @INSTANCE@"),
    ),
    AlarmKind.STANDBY: Message(
        code="standby",
        message_id="7bf0db00ee7d416981a4dd198b82546c",
        severity=Severity.WARNING,
        title="An operator keeps this machine in standby",
        text="""\
`failoverctl standby` has told keepalived, by the track file, that this machine is not to be MASTER. This lasts over
restarts and reboots until `failoverctl online`. If every machine is kept in standby, no machine serves.

If keepalived still reports MASTER, no other machine takes over, or keepalived does not watch the track file: see
failoverd.toml(5). This machine then stays active.""",
        remedy=("failoverctl status @INSTANCE@", "failoverctl online @INSTANCE@"),
    ),
    AlarmKind.MAINTENANCE: Message(
        code="maintenance",
        message_id="ef33d67195fc4b3aae7e2f4cd5ab817d",
        severity=Severity.ERROR,
        title="Maintenance keeps failoverd from following keepalived",
        text="""\
A resource is not in the state that it should have, and failoverd starts no step, because an operator has begun
maintenance on this machine. If keepalived reports MASTER, nothing may be active; otherwise another machine may be
active too.

When maintenance ends, failoverd checks everything and acts.""",
        remedy=("failoverctl status @INSTANCE@", "failoverctl maintenance off"),
    ),
    AlarmKind.UNFOLLOWED: Message(
        code="unfollowed",
        message_id="73484b0b834d4d88b892289c67341322",
        severity=Severity.ERROR,
        title="A resource is no longer configured here, and may still be active",
        text="""\
failoverd does not stop what is not configured. The resource continues whatever keepalived reports, and may be active on
another machine too. failoverd does not deactivate the resources that it needs, nor give up the lease of its instance.

Stop it by hand, or configure it again and reload: each ends this alarm. If it is to stay as it is, reset the instance:
failoverd then forgets it, and may deactivate the resources that it needs.""",
        remedy=("failoverctl status @INSTANCE@", "failoverctl reset @INSTANCE@"),
    ),
    AlarmKind.ATTENTION: Message(
        code="attention",
        message_id="f6df8140b7e54ac88debeb6a72fa1162",
        severity=Severity.WARNING,
        title="An observation needs an operator's attention",
        text="""\
The resources are in the expected state, and failoverd observed something unexpected on the way. The command shows
whether it is still so.""",
        remedy=("failoverctl status @INSTANCE@",),
    ),
}

#: All of them, in the order of the catalog and of the manual.
MESSAGES = (DONE, *ALARMS.values(), TROUBLE)
