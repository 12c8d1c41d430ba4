"""What the doctor examines: this node's configuration, and where keepalived's own is."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from failoverd.core.spec import InstanceSpec, ResourceSpec
from failoverd.daemon.config import Configuration
from failoverd.osutil import processes

#: The hooks, as the package installs them.
HOOK = "/usr/libexec/failoverd/notify"
FENCE_PEER, UNFENCE_PEER = "/usr/libexec/failoverd/fence-peer", "/usr/libexec/failoverd/unfence-peer"
KEEPALIVED_CONF = Path("/etc/keepalived/keepalived.conf")

_DEFAULTS = Path("/etc/default/keepalived")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalived:
    """The arguments of keepalived: its configuration, and its config-id (None: the host name, without its domain).

    `pid`: of the keepalived that runs with them; None: none does.
    """

    conf: Path = KEEPALIVED_CONF
    config_id: str | None = None
    pid: int | None = None

    def command(self, option: str) -> tuple[str, ...]:
        """The command line of keepalived with that option, and with the file and the id that the running one has."""
        chosen = () if self.config_id is None else ("--config-id", self.config_id)
        return ("keepalived", option, "--use-file", str(self.conf), *chosen)

    @property
    def name(self) -> str:
        """The id by which a line that begins with @ counts."""
        return os.uname().nodename.partition(".")[0] if self.config_id is None else self.config_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One node. `runtime_dir`: the daemon's."""

    configuration: Configuration
    keepalived: Keepalived
    runtime_dir: Path

    @property
    def instances(self) -> Iterator[InstanceSpec]:
        """The instances of the configuration, in its order."""
        yield from self.configuration.core.instances.values()

    @property
    def interfaces(self) -> dict[str, InstanceSpec]:
        """The interfaces of all VIPs, each with the first instance that has it."""
        found: dict[str, InstanceSpec] = {}
        for instance in self.instances:
            for vip in instance.vips:
                found.setdefault(vip.interface, instance)
        return found

    def resources(self, driver: str) -> Iterator[ResourceSpec]:
        """The resources of this node that have that driver."""
        for instance in self.instances:
            yield from (each for each in instance.resources.values() if each.driver == driver)

    def file_of(self, name: str, table: str = "instance") -> str:
        """The file of the configuration that has the table [TABLE.NAME]. OSError: it cannot be read now."""
        for file in self.configuration.files:
            if name in tomllib.loads(file.read_text(encoding="utf-8-sig")).get(table, {}):
                return str(file)
        return str(self.configuration.files[0])


def keepalived() -> Keepalived:
    """The arguments of the keepalived that runs in this network namespace, or else those of its service.

    Blocks as /proc and /etc do.
    """
    pid, words = running("keepalived")
    if pid is not None:
        return replace(_arguments(words), pid=pid)
    try:
        text = _DEFAULTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Keepalived()
    lines = [line.partition("=")[2].strip("\"' ") for line in text.splitlines() if line.startswith("DAEMON_ARGS=")]
    return _arguments(lines[-1].split() if lines else [])


def running(program: str) -> tuple[int | None, list[str]]:
    """The process of that program in this network namespace with the lowest pid, and its command line; None: none runs.

    keepalived.conf can give its processes other names.
    """
    own = processes.network(os.getpid())
    for pid in processes.everyone():
        if processes.program(pid) != program:
            continue
        try:
            if processes.network(pid) == own:
                words = (processes.PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return pid, words
        except OSError:  # it has exited
            continue
    return None, []


def _arguments(words: list[str]) -> Keepalived:
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        long = {"--use-file": "conf", "--config-id": "id"}.get(name)
        short = {"-f": "conf", "-i": "id"}.get(word[:2])
        following = words[place + 1] if place + 1 < len(words) else ""
        if long is not None:
            found[long] = value if equals else following
        elif short is not None:
            found[short] = word[2:] or following
    return Keepalived(conf=Path(found["conf"]) if "conf" in found else KEEPALIVED_CONF, config_id=found.get("id"))
