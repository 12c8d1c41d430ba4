"""Every metric, declared once: its name, type, text and labels. The exposition and the manual are derived from here.

Names and units follow https://prometheus.io/docs/practices/naming/. The values of each label are bounded: names of the
configuration, or words of failoverd's own. Prometheus itself has a label `instance`, for the place that it scrapes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """The type of a metric, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric. `text`: one sentence, without a full stop. `labels`: without the `le` of a histogram."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name=f"failoverd_{name}", kind=Kind.GAUGE, text=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name=f"failoverd_{name}", kind=Kind.COUNTER, text=text, labels=labels)


def _histogram(name: str, text: str, *labels: str) -> Family:
    return Family(name=f"failoverd_{name}", kind=Kind.HISTOGRAM, text=text, labels=labels)


BUILD = _gauge("build_info", "1, with the version and the name of this node", "version", "node")
MADE = _gauge("exposition_timestamp_seconds", "When these figures were collected")

MAINTENANCE = _gauge("maintenance", "1 while an operator lets failoverd start no step")

PEER_WORD = _gauge(
    "peer_last_word_timestamp_seconds",
    "After when the other node has last said anything by the heartbeat; missing if it never has",
    "peer",
)

PHASE = _gauge("instance_phase", "1 for the instance's phase, 0 for every other", "vrrp_instance", "phase")
TARGET = _gauge("instance_target", "1 for the instance's target, 0 for the other", "vrrp_instance", "target")
VRRP = _gauge("instance_vrrp_state", "1 for keepalived's state, 0 for every other", "vrrp_instance", "state")
KEEPALIVED = _gauge(
    "instance_keepalived", "1 for the condition of its keepalived, 0 for every other", "vrrp_instance", "condition"
)
ALARM = _gauge("instance_alarm", "1 while the instance has an alarm", "vrrp_instance")
OBSTACLE = _gauge("instance_obstacle", "1 while keepalived would not make this standby MASTER", "vrrp_instance")
RELEASED = _gauge("instance_released", "1 while mastership is released", "vrrp_instance")
STANDBY = _gauge("instance_standby", "1 while an operator keeps this node from being MASTER", "vrrp_instance")
RIVALS = _gauge("instance_rivals", "Double masters that no operator has acknowledged", "vrrp_instance")
DEGRADED = _gauge("instance_degraded_resources", "Resources without which the instance is active", "vrrp_instance")
STRAYS = _gauge("instance_strays", "Resources that are no longer configured, and may be active", "vrrp_instance")
VIP = _gauge(
    "vip_present",
    "1 if it is usable on its interface; missing if unknown",
    "vrrp_instance",
    "address",
    "interface",
)

LEVEL = _gauge(
    "resource_level", "1 for the resource's level, 0 for every other", "vrrp_instance", "resource", "driver", "level"
)
RESOURCE_ALARM = _gauge("resource_alarm", "1 while its observation has an alarm", "vrrp_instance", "resource")
RESOURCE_OBSTACLE = _gauge("resource_obstacle", "1 while its activation would be refused", "vrrp_instance", "resource")
OBSERVED = _gauge(
    "resource_last_observation_timestamp_seconds", "When it was last observed", "vrrp_instance", "resource"
)

TRANSITIONS = _counter("transitions_total", "Transitions that have ended", "vrrp_instance", "target", "outcome")
TRANSITION_SECONDS = _histogram(
    "transition_duration_seconds", "Duration of the transitions that reached their target", "vrrp_instance", "target"
)
STEPS = _counter("steps_total", "Steps that have ended", "vrrp_instance", "resource", "driver", "verb", "outcome")
STEP_SECONDS = _histogram(
    "step_duration_seconds", "Duration of the steps that were done, with the check at the end", "driver", "verb"
)
REFUSALS = _counter("refusals_total", "How often the instance became refused", "vrrp_instance")
ALARMS = _counter("alarms_total", "Alarms, by their code; that of drift is drift", "vrrp_instance", "code")
EVENTS = _counter("events_total", "Events of keepalived", "source", "verdict")
REJECTED = _counter("events_rejected_total", "Events that were malformed, or of a user who may not report")
OVERFLOWS = _counter(
    "fifo_overflows_total", "How often keepalived's FIFO was full, so that keepalived may have dropped events"
)
HISTORY_DROPPED = _counter("history_dropped_entries_total", "Entries that the history has lost")
LOG_LOST = _counter("log_lost_lines_total", "Lines that the log has lost")
TROUBLES = _gauge("troubles", "Troubles that are not over, by their code", "code")

#: All of them, in the order of the exposition and of the manual.
FAMILIES = tuple(each for each in tuple(globals().values()) if isinstance(each, Family))
