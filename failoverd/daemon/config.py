"""The configuration: TOML files, the same on every node, to what this node has to do.

Every error names the file, the key, and what was expected; all errors are found before any is shown. Nothing here
looks at the machine: a file that is good on one node is good on all.
"""

from __future__ import annotations

import ipaddress
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from failoverd import drivers
from failoverd.core.spec import Config, InstanceSpec, ResourceSpec, Restart, Vip
from failoverd.core.words import Escalation, OnFailure, OnRefused
from failoverd.daemon import schema
from failoverd.daemon.options import InstanceOptions, KeepalivedOptions, NodeOptions, ResourceOptions
from failoverd.daemon.schema import Path

#: Tables and lists within each other; no key is as deep as that.
DEEPEST = 32

_TOO_DEEP = f"more than {DEEPEST} tables or lists within each other; expected at most six"
#: The most bytes of an instance's or resource's name: as the name of a file each may take three.
LONGEST_NAME = 80


class ConfigError(Exception):
    """The configuration cannot be used. `problems`: one line each, with file, key and what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What this node has to do.

    `script_user`: as whom keepalived runs its scripts; None for its own default. `members`: those of each instance that
    is a sync group, as far as they are configured; empty for all else.
    """

    node: str
    script_user: str | None
    core: Config
    files: tuple[File, ...]
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def load(file: File, node: str | None = None) -> Configuration:
    """Read `file`, and ``conf.d/*.toml`` beside it, for the node `node` (None: as configured). Raises ConfigError."""
    reader = _Reader()
    files = (file, *sorted((file.parent / "conf.d").glob("*.toml")))
    for each in files:
        reader.read(each)
    configuration = reader.resolve(node, files)
    if reader.problems:
        raise ConfigError(reader.problems)
    return configuration


class _Reader:
    """Collects the tables of all files, where each key came from, and every problem."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.tables: dict[str, Any] = {}
        self.origin: dict[Path, File] = {}
        self.main: File | None = None
        self.owners: dict[str, list[tuple[Path, frozenset[str] | None]]] = {}

    def read(self, file: File) -> None:
        self.main = self.main or file
        try:
            text = file.read_text(encoding="utf-8")
            tables = tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            self.problems.append(f"{file}: cannot be read: {reason}; expected a configuration in TOML (see --config)")
        except tomllib.TOMLDecodeError as error:
            self.problems.append(f"{file}: not valid TOML: {error}")
        except RecursionError:
            self.problems.append(f"{file}: {_TOO_DEEP}")
        else:
            if _deep(tables):
                self.problems.append(f"{file}: {_TOO_DEEP}")
            else:
                self._merge(self.tables, tables, (), file)

    def _merge(self, into: dict[str, Any], tables: Mapping[str, Any], at: Path, file: File) -> None:
        for key, value in tables.items():
            path = (*at, key)
            if isinstance(value, dict) and isinstance(into.setdefault(key, {}), dict):
                self.origin.setdefault(path, file)
                self._merge(into[key], value, path, file)
            elif path in self.origin:
                self.problem(path, f"is also set in {self.origin[path]}; expected in one file only", file)
            else:
                self.origin[path] = file
                into[key] = value

    def problem(self, path: Path, text: str, file: File | None = None) -> None:
        if file is None:
            known = (self.origin[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origin)
            file = next(known, self.main)
        key = ".".join(part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"' for part in path)
        self.problems.append(f"{file}: {key}: {text}" if key else f"{file}: {text}")

    def own(self, thing: str, path: Path, nodes: tuple[str, ...] | None) -> None:
        """Two resources that change the same thing on one node would work against each other."""
        here = None if nodes is None else frozenset(nodes)
        for other, there in self.owners.setdefault(thing, []):
            if here is None or there is None or here & there:
                self.problem(path, f"changes {thing}, as {'.'.join(other)} does; expected one of them on a node")
        self.owners[thing].append((path, here))

    def check(self, value: Any, table: Mapping[str, Any], at: Path) -> bool:
        found = schema.problems(value, table, at)
        for path, text in found:
            self.problem(path, text)
        return not found

    def tables_in(self, value: Any, at: Path) -> Iterator[tuple[str, dict[str, Any], Path]]:
        """The named tables in a table of tables."""
        if not isinstance(value, dict):
            self.problem(at, "expected a table")
            return
        for name, table in value.items():
            if (wrong := _wrong_name(name)) is not None:
                self.problem((*at, name), wrong)
            elif isinstance(table, dict):
                yield name, table, (*at, name)
            else:
                self.problem((*at, name), "expected a table")

    def resolve(self, node: str | None, files: tuple[File, ...]) -> Configuration:
        tables = dict(self.tables)
        settings = tables.pop("node", {})
        keepalived = tables.pop("keepalived", {})
        instances = tables.pop("instance", {})
        for key in tables:
            self.problem((key,), f"unknown key; {schema.suggest(key, ['instance', 'keepalived', 'node'])}")
        options = NodeOptions()
        if self.check(settings, schema.schema(NodeOptions), ("node",)):
            options = schema.build(NodeOptions, settings)
        name = node or options.name or socket.gethostname()
        script_user = None
        if self.check(keepalived, schema.schema(KeepalivedOptions), ("keepalived",)):
            script_user = schema.build(KeepalivedOptions, keepalived).script_user
        specs: dict[str, InstanceSpec] = {}
        members: dict[str, tuple[str, ...]] = {}
        for instance, table, path in self.tables_in(instances, ("instance",)):
            reading = _Instance(self, instance, path)
            made = reading.resolve(table, name)
            if made is not None:
                specs[instance] = made
                members[instance] = reading.members
        core = Config(instances=specs, parallel=options.parallel, check_interval=options.check_interval)
        return Configuration(node=name, script_user=script_user, core=core, files=files, members=members)


class _Instance:
    """One instance's table."""

    def __init__(self, reader: _Reader, name: str, path: Path) -> None:
        self.reader = reader
        self.name = name
        self.path = path
        self.members: tuple[str, ...] = ()

    def resolve(self, table: dict[str, Any], node: str) -> InstanceSpec | None:
        table = dict(table)
        resources = table.pop("resource", {})
        good = self.reader.check(table, schema.schema(InstanceOptions), self.path)
        options = schema.build(InstanceOptions, table) if good else InstanceOptions()
        self.members = options.members
        vips = self._vips(options)
        common: dict[str, ResourceOptions] = {}
        own: dict[str, drivers.Options] = {}
        for name, each, path in self.reader.tables_in(resources, (*self.path, "resource")):
            read = self._resource(each, path)
            if read is not None:
                common[name], own[name] = read
        if isinstance(resources, dict) and len(common) == len(resources):
            self._check_needs(common)
        if self.reader.problems:
            return None
        here = {name: o for name, o in common.items() if o.nodes is None or node in o.nodes}
        specs = {
            name: ResourceSpec(
                instance=self.name,
                name=name,
                driver=o.driver,
                options=own[name],
                moves=drivers.moved_by(own[name]),
                needs=frozenset(o.needs),
                timeout=o.timeout,
                stop_timeout=o.stop_timeout,
                retries=o.retries,
                backoff=o.backoff,
                on_failure=OnFailure(o.on_failure),
                on_refused=OnRefused(o.on_refused),
                restart=Restart(max=o.restart.max, within=o.restart.within) if o.restart is not None else None,
                escalation=Escalation(o.escalation),
            )
            for name, o in here.items()
        }
        return InstanceSpec(
            name=self.name,
            vips=vips,
            vip_timeout=options.vip_timeout,
            preempt=options.preempt,
            on_refused=OnRefused(options.on_refused),
            take_back_after=options.take_back_after or None,
            resources=specs,
        )

    def _resource(self, table: dict[str, Any], path: Path) -> tuple[ResourceOptions, drivers.Options] | None:
        driver = table.get("driver")
        try:
            found = drivers.find(driver) if isinstance(driver, str) else None
        except KeyError:
            self.reader.problem(
                (*path, "driver"), f'no driver "{driver}"; {schema.suggest(str(driver), drivers.names())}'
            )
            return None
        if found is None:
            self.reader.check(table, {**schema.schema(ResourceOptions), "additionalProperties": True}, path)
            return None
        if not self.reader.check(table, schema.schema(ResourceOptions, found.options), path):
            return None
        common: ResourceOptions = schema.build(ResourceOptions, table)
        try:
            own: drivers.Options = schema.build(found.options, table)
        except ValueError as error:
            self.reader.problem(path, str(error))
            return None
        for thing in own.owns:
            self.reader.own(thing, path, common.nodes)
        return common, own

    def _vips(self, options: InstanceOptions) -> tuple[Vip, ...]:
        vips: dict[str, Vip] = {}
        for text in options.vips:
            match text.split():
                case [address]:
                    interface = options.interface
                case [address, "dev", interface]:
                    pass
                case _:
                    address, interface = text, ""
            try:
                plain = str(ipaddress.ip_interface(address).ip)
            except ValueError:
                expected = 'expected "ADDRESS[/PREFIX] [dev INTERFACE]"'
                self.reader.problem((*self.path, "vips"), f'"{text}" is not an address; {expected}')
                continue
            if interface is None:
                expected = f'expected `interface = "…"` in [instance.{self.name}], or "{address} dev INTERFACE"'
                self.reader.problem((*self.path, "vips"), f'"{text}" names no interface; {expected}')
                continue
            if plain in vips:
                self.reader.problem((*self.path, "vips"), f'"{text}" is there twice; expected once')
            vips[plain] = Vip(address=address, interface=interface)
        return tuple(vips.values())

    def _check_needs(self, resources: Mapping[str, ResourceOptions]) -> None:
        for name, each in resources.items():
            for need in each.needs:
                path = (*self.path, "resource", name, "needs")
                if need not in resources:
                    self.reader.problem(path, f'there is no resource "{need}"; {schema.suggest(need, resources)}')
                    continue
                where = resources[need].nodes
                if where is not None and (each.nodes is None or not set(each.nodes) <= set(where)):
                    nodes = f"only on {', '.join(where)}"
                    self.reader.problem(path, f'"{need}" is {nodes}; expected it on every node that carries "{name}"')
        cycle = _cycle({name: [n for n in each.needs if n in resources] for name, each in resources.items()})
        if cycle:
            path = (*self.path, "resource", cycle[0], "needs")
            self.reader.problem(path, f"a circle: {' needs '.join(cycle)}; expected none")


def _deep(tables: Mapping[str, Any]) -> bool:
    """Whether more is within each other than any key is, or than Python can follow."""
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _wrong_name(name: str) -> str | None:
    """Why nothing can have that name, which becomes that of a file, stands in lines, and is read by people."""
    if not 0 < len(name.encode()) <= LONGEST_NAME:
        return f"a name of {len(name.encode())} bytes; expected 1 to {LONGEST_NAME}"
    if not name.isprintable() or name != name.strip() or name.startswith(".") or '"' in name or "%" in name:
        return 'expected a name of printable characters, without " and %, that begins with neither a dot nor a space'
    return None


def _cycle(needs: Mapping[str, list[str]]) -> list[str]:
    """The names along one cycle, the first repeated at its end; empty when there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for need in needs[name]:
            found = visit(need, [*trail, name])
            if found:
                return found
        done.add(name)
        return []

    for name in needs:
        found = visit(name, [])
        if found:
            return found
    return []
