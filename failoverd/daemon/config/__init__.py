"""Read the configuration: from TOML files, which are the same on every node, to this node's part of it.

Every error names the file, the key and the expected value, and all errors are reported at once. The result must not
depend on the state of the machine: files that are valid on one node are valid on all.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from failoverd.core.spec import Config, InstanceSpec, NodeKeys, Quorum
from failoverd.daemon.config import clearance, fence, heartbeat, keys, nodes, quorum, schema
from failoverd.daemon.config.files import Tables, no_table, strings, wrong_name
from failoverd.daemon.config.heartbeat import HeartbeatPlan
from failoverd.daemon.config.instance import Instance
from failoverd.daemon.config.keys import AlertOptions, KeepalivedOptions, MetricsOptions, NodeOptions

#: Of `Configuration.digest`, in hexadecimal.
DIGEST_CHARACTERS = 12

#: The classes of the keys of each table that is no table of tables.
_CLASSES: Mapping[str, tuple[type, ...]] = {
    "node": keys.NODE,
    "keepalived": keys.KEEPALIVED,
    "alert": keys.ALERT,
    "metrics": keys.METRICS,
    "quorum": keys.QUORUM,
    "heartbeat": keys.HEARTBEAT,
}
_TABLES = (*_CLASSES, "fence", "instance", "peers")
_WAY = 'expected an address like "root@192.0.2.2", or a command like ["ssh", "-p", "2222", "root@192.0.2.2"]'


class ConfigError(Exception):
    """The configuration is invalid. `problems`: one line each, with the file, the key and the expected value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The configuration of this node.

    `script_user`: the user as whom keepalived runs its scripts; None: keepalived's default. `members`: of each sync
    group, its instances as configured; empty for every other instance. `elsewhere`: of each instance without a resource
    for this node, the nodes that its resources name. `peers`: the other nodes, each with its address or with a command
    that runs the words after it there. `digest`: the same on nodes with the same configuration. `budgets`: of each
    instance that has one, its budget in seconds. `heartbeat`: None without [heartbeat].
    """

    node: str
    script_user: str | None
    core: Config
    files: tuple[File, ...]
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    peers: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
    alert: AlertOptions = field(default_factory=AlertOptions)
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    budgets: Mapping[str, float] = field(default_factory=dict)
    heartbeat: HeartbeatPlan | None = None


def load(file: File, node: str | None = None) -> Configuration:
    """Read `file`, and ``conf.d/*.toml`` beside it, for the node `node` (None: [node] name). Raises ConfigError."""
    read = Tables()
    files = (file, *sorted((file.parent / "conf.d").glob("*.toml")))
    for each in files:
        read.read(each)
    configuration = _resolve(read, node, files)
    if read.problems:
        raise ConfigError(read.problems)
    return configuration


def _resolve(read: Tables, node: str | None, files: tuple[File, ...]) -> Configuration:
    tables = dict(read.tables)
    instances = tables.pop("instance", {})
    peers = _peers(read, tables.pop("peers", {}))
    fences = fence.read(tables.pop("fence", {}), read)
    given = {table: tables.pop(table) for table in _CLASSES if table in tables}
    for key in tables:
        read.problem((key,), f"unknown key; {schema.suggest(key, _TABLES)}")
    settings, keepalived, alert, metrics, witnesses, beat = (_valid(read, table, given) for table in _CLASSES)
    name = node or schema.build(NodeOptions, settings).name or socket.gethostname()
    script_user = schema.build(KeepalivedOptions, keepalived).script_user
    plan = heartbeat.read(beat, name, read.problem) if beat else None
    specs: dict[str, InstanceSpec] = {}
    members: dict[str, tuple[str, ...]] = {}
    elsewhere: dict[str, tuple[str, ...]] = {}
    budgets: dict[str, float] = {}
    carriers: dict[str, tuple[str, ...]] = {}
    stops: dict[str, float] = {}
    for instance, table, path in read.tables_in(instances, ("instance",)):
        reading = Instance(read, instance, path)
        made = reading.resolve(table, name, () if plan is None else plan.core.peers)
        carriers[instance] = reading.nodes
        if made is not None:
            specs[instance] = made
            stops[instance] = reading.stop_time
            members[instance] = reading.members
            if reading.budget is not None:
                budgets[instance] = reading.budget
            if not made.resources:
                elsewhere[instance] = reading.nodes
    vips = {str(ipaddress.ip_interface(vip.address).ip) for spec in specs.values() for vip in spec.vips}
    asked = _quorum(read, witnesses, vips, plan) if witnesses else None
    if plan is not None:
        heartbeat.check(plan, carriers, vips, read.problem)
    core = Config(
        instances=specs,
        quorum=asked,
        fences=fences,
        heartbeat=None if plan is None else plan.core,
        **schema.values(NodeKeys, settings),
    )
    if plan is not None or "heartbeat" not in given:
        clearance.check(core, stops, read.problem)
    return Configuration(
        node=name,
        script_user=script_user,
        core=core,
        files=files,
        members=members,
        elsewhere=elsewhere,
        peers={peer: way for peer, way in peers.items() if not nodes.carries((peer,), name)},
        digest=_digest(read.tables),
        alert=schema.build(AlertOptions, alert),
        metrics=schema.build(MetricsOptions, metrics),
        budgets=budgets,
        heartbeat=plan,
    )


def _valid(read: Tables, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The table `name`, whose problems are reported; empty where it has one, or is not given."""
    if name not in given or read.check(given[name], schema.schema(*_CLASSES[name]), (name,)):
        return {}
    return dict(given[name])


def _peers(read: Tables, table: Any) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, str | tuple[str, ...]] = {}
    if not isinstance(table, dict):
        read.problem(("peers",), no_table(table, ("peers",)))
        return found
    for name, value in table.items():
        words = strings([value] if isinstance(value, str) else value) or ()
        if (wrong := wrong_name(name)) is not None:
            read.problem(("peers", name), wrong)
        elif not words or not all(word and word.isprintable() for word in words) or words[0].startswith("-"):
            read.problem(("peers", name), f"{_WAY}, found {schema.shown(value)}")
        elif isinstance(value, str) and " " in value:
            read.problem(("peers", name), f"an address has no space; expected {json.dumps(value.split())}")
        else:
            found[name] = value if isinstance(value, str) else words
    return found


def _quorum(read: Tables, table: Mapping[str, Any], vips: Collection[str], plan: HeartbeatPlan | None) -> Quorum | None:
    addresses = () if plan is None else (plan.own, *plan.peers.values())
    return quorum.read(table, read.problem, vips=vips, nodes=[address.host for address in addresses])


def _digest(tables: Mapping[str, Any]) -> str:
    """A digest of all tables, without [node] name: comments and the order of keys do not change it."""
    node = tables.get("node")
    common = {**tables, "node": {key: node[key] for key in node if key != "name"}} if isinstance(node, dict) else tables
    text = json.dumps({key: value for key, value in common.items() if value != {}}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]
