"""What the examples say, read by the simplest means: which folder has what, and who is named in it."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from .sandbox import EXAMPLES

#: Each use with its nodes.
NODES = {
    "hosting": ("left", "right", "center"),
    "router": ("left", "right"),
    "loadbalancer": ("left", "right"),
}
USES = tuple(NODES)
NODES_OF_USES = [(use, node) for use, nodes in NODES.items() for node in nodes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What keepalived.conf says of an instance or a group: its VIPs, each "ADDRESS/PREFIX dev INTERFACE"."""

    kind: str
    vips: tuple[str, ...]


def text(name: str) -> str:
    return (EXAMPLES / name).read_text()


def instances(use: str) -> dict[str, dict[str, Any]]:
    """The instances of failoverd.toml, as they are written there."""
    found: dict[str, dict[str, Any]] = tomllib.loads(text(f"{use}/failoverd.toml"))["instance"]
    return found


def resources(use: str) -> list[dict[str, Any]]:
    return [resource for instance in instances(use).values() for resource in instance["resource"].values()]


def units(use: str) -> set[str]:
    """The units that failoverd starts, in failoverd.toml or in a variant of it."""
    variants = [tomllib.loads(file.read_text()) for file in (EXAMPLES / use).glob("failoverd*.toml")]
    resources = [r for variant in variants for i in variant["instance"].values() for r in i["resource"].values()]
    return {resource["unit"] for resource in resources if "unit" in resource}


def keepalived(use: str) -> dict[str, Told]:
    """Instances and groups of keepalived.conf."""
    conf = re.sub(r"#.*", "", text(f"{use}/keepalived.conf"))
    told = {}
    for name, block in _blocks("vrrp_instance", conf):
        interface = re.search(r"^ +interface (\S+)$", block, re.MULTILINE)
        assert interface is not None
        vips = _words_in("virtual_ipaddress", block)
        told[name] = Told(kind="INSTANCE", vips=tuple(v if " dev " in v else f"{v} dev {interface[1]}" for v in vips))
    for name, block in _blocks("vrrp_sync_group", conf):
        members = _words_in("group", block)
        told[name] = Told(kind="GROUP", vips=tuple(vip for member in members for vip in told[member].vips))
    return told


def interfaces(use: str) -> set[str]:
    """Every interface that keepalived.conf names."""
    of_vips = {vip.split(" dev ")[1] for told in keepalived(use).values() for vip in told.vips}
    tracked = [
        word for _, block in _blocks("track_interface", text(f"{use}/keepalived.conf")) for word in block.split()
    ]
    return of_vips | set(tracked)


def _blocks(keyword: str, conf: str) -> list[tuple[str, str]]:
    """Name and content of each `keyword [NAME] { … }`; the closing brace stands below the keyword."""
    pattern = rf"^( *){keyword} ?(\S*) \{{\n(.*?)^\1\}}$"
    return [(name, block) for _, name, block in re.findall(pattern, conf, re.MULTILINE | re.DOTALL)]


def _words_in(keyword: str, block: str) -> list[str]:
    return [line.strip() for _, inner in _blocks(keyword, block) for line in inner.splitlines() if line.strip()]
