"""No key is accepted and ignored: each is found in what the daemon is given, and is read there."""

from __future__ import annotations

import ast
import dataclasses
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from failoverd import drivers
from failoverd.core.spec import HeartbeatKeys, Restart
from failoverd.daemon import config
from failoverd.daemon.config import keys, schema

ROOT = Path(__file__).parents[4]
INSTANCE = ("instance", "VI_1")
RESOURCE = (*INSTANCE, "resource", "web")
TABLES: Mapping[str, tuple[tuple[str, ...], tuple[type, ...]]] = {
    "node": (("node",), keys.NODE),
    "keepalived": (("keepalived",), keys.KEEPALIVED),
    "fence": (("fence", "right"), keys.FENCE),
    "alert": (("alert",), keys.ALERT),
    "metrics": (("metrics",), keys.METRICS),
    "heartbeat": (("heartbeat",), (HeartbeatKeys,)),  # test_heartbeat.py has the others, which are resolved
    "instance": (INSTANCE, keys.INSTANCE),
    "resource": (RESOURCE, keys.RESOURCE),
    "restart": ((*RESOURCE, "restart"), (Restart,)),
    **{f"driver {name}": (RESOURCE, (drivers.find(name).options,)) for name in drivers.names()},
}
#: Each key by its name: the table that it is in, and how it is declared.
KEYS = {
    f"{table}: {field.name}": (table, field)
    for table, (_, classes) in TABLES.items()
    for cls in classes
    for field in dataclasses.fields(cls)
}
_METRIC = {"mode": "metric", "active": 8, "standby": 9, "interfaces": ["eth9"]}
_SESSION = {"protocol": "upstream", "prefix": "192.0.2.0/24"}
#: [fence.right] needs it.
_BEAT: Mapping[tuple[str, ...], dict[str, Any]] = {
    ("heartbeat",): {"addresses": {socket.gethostname(): "192.0.2.7", "right": "192.0.2.8"}, "key_file": "/key"}
}
_NODES = {socket.gethostname(): "192.0.2.7", "another": "192.0.2.8"}
#: Where the rules of a key do not say all: a value that is good, and the keys beside it.
EXAMPLES: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "fence: agent": ("/sbin/fence_seven", {}),
    "fence: options": ({"plug": "7"}, {"agent": "fence_x"}),
    "fence: secrets": ({"password": "seven"}, {"agent": "fence_x"}),
    "fence: timeout": (7654.25, {"agent": "fence_x"}),
    "fence: delay": (7.25, {"agent": "fence_x"}),
    "heartbeat: interval": ("7s", {"addresses": _NODES, "key_file": "/key"}),
    "instance: vips": (["198.51.100.7/32"], {}),
    "metrics: listen": ("[::1]:7777", {}),
    "metrics: file": ("/seven.prom", {}),
    "resource: driver": ("quagga", {}),
    "resource: needs": (["disk"], {}),
    "resource: restart": ({"max": 7, "within": 8}, {}),
    "restart: max": (7, {"within": 60}),
    "restart: within": (7, {"max": 1}),
    "driver bird: prefix": ("198.51.100.0/24", _SESSION),
    "driver bird: protocol": ("seven", _SESSION),
    "driver bird: require_session": (True, _SESSION),
    "driver quagga: active": (7, _METRIC),
    "driver quagga: interfaces": (["eth7"], _METRIC),
    "driver quagga: mode": ("metric", _METRIC),
    "driver quagga: route_map": ("UP 7", {"mode": "metric", "active": 8, "standby": 9}),
    "driver quagga: standby": (7, _METRIC),
    "driver quagga: unit": ("seven.service", {}),
    "driver unit: unit": ("seven.service", {}),
}
#: The keys that a resource of each driver cannot do without.
REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "bird": {"symbol": "metric", "active": 1, "standby": 2},
    "drbd": {"resource": "r1"},
    "exec": {"activate": ["/bin/up"], "deactivate": ["/bin/down"]},
    "quagga": {},
    "unit": {"unit": "web.service"},
    "xen": {"config": "/etc/xen/web.cfg"},
}


def another(rule: Mapping[str, Any], default: Any) -> Any:
    """A value that the rules allow and that is not the default."""
    if rule.get("duration"):
        return 7654.25
    if "enum" in rule:
        return next(value for value in rule["enum"] if value != getattr(default, "value", default))
    match rule["type"]:
        case "integer":
            return rule.get("minimum", 0) + 71
        case "boolean":
            return not default
        case "array":
            return ["/bin/seven", "eth7"]
    return "/seven" if rule.get("pattern") == "^/" else "seven"


def found(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Everything in `value`, with the place where it is."""
    yield at, value
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for key, each in value.items() if isinstance(value, Mapping) else enumerate(value if type(value) is tuple else ()):
        yield from found(each, (*at, key))


def load(folder: Path, tables: Mapping[tuple[str, ...], Mapping[str, Any]]) -> config.Configuration:
    file = folder / "failoverd.toml"
    lines = []
    for name, table in tables.items():
        lines.append(f"[{'.'.join(name)}]")
        for key, value in table.items():
            inline = isinstance(value, dict)
            text = ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) if inline else json.dumps(value)
            lines.append(f"{key} = {{ {text} }}" if inline else f"{key} = {text}")
    file.write_text("\n".join(lines), encoding="utf-8")
    return config.load(file)


@pytest.mark.parametrize("key", KEYS)
def test_a_value_that_is_not_the_default_is_taken_over(tmp_path: Path, key: str) -> None:
    table, field = KEYS[key]
    place, classes = TABLES[table]
    driver = table.removeprefix("driver ") if table.startswith("driver ") else "unit"
    good: dict[tuple[str, ...], dict[str, Any]] = {
        INSTANCE: {"vips": ["192.0.2.1/32"], "interface": "eth0"},
        (*INSTANCE, "resource", "disk"): {"driver": "drbd", "resource": "r0"},
        RESOURCE: {"driver": driver, **REQUIRED[driver]},
        **(_BEAT if table == "fence" else {}),
    }
    before = dict(found(load(tmp_path, good)))
    rule = schema.schema(*classes)["properties"][field.name]
    value, beside = EXAMPLES[key] if key in EXAMPLES else (another(rule, field.default), {})
    good[place] = {**good.get(place, {}), **beside, field.name: value}
    after = found(load(tmp_path, good))
    changed = [each for at, each in after if at not in before or before[at] != each]
    wanted = next(schema.values(cls, {field.name: value}) for cls in classes if field.name in names(cls))[field.name]
    assert wanted != field.default
    assert any(type(each) is type(wanted) and each == wanted for each in changed) or (
        isinstance(wanted, tuple) and all(each in changed for each in wanted)
    )


def names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize("key", KEYS)
def test_it_is_read(key: str) -> None:
    table, field = KEYS[key]
    room = ROOT / "failoverd"
    if table.startswith("driver "):
        room /= f"drivers/{table.removeprefix('driver ')}"
    files = [*room.rglob("*.py"), *([room.with_suffix(".py")] if not room.is_dir() else [])]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    assert any(isinstance(node, ast.Attribute) and node.attr == field.name for node in nodes), f"{key} is never read"
