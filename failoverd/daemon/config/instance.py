"""One instance of the configuration, with its VIPs and resources, as this node has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from failoverd import drivers
from failoverd.core import votes
from failoverd.core.spec import InstanceKeys, InstanceSpec, ResourceKeys, ResourceSpec, Vip
from failoverd.daemon.config import addresses, files, keys, nodes, schema
from failoverd.daemon.config.files import Tables
from failoverd.daemon.config.keys import InstanceOptions, ResourceOptions
from failoverd.daemon.config.schema import Path


class Instance:
    """One instance's table. After `resolve`: its `members`, `budget` in seconds, and the `nodes` of its resources.

    `stop_time`: the seconds that a node takes to stop all of it, as `votes.stop_time`.
    """

    def __init__(self, tables: Tables, name: str, path: Path) -> None:
        self._tables = tables
        self.name = name
        self.path = path
        self.members: tuple[str, ...] = ()
        self.budget: float | None = None
        self.nodes: tuple[str, ...] = ()
        self.stop_time = 0.0

    def resolve(self, table: dict[str, Any], node: str, peers: tuple[str, ...] = ()) -> InstanceSpec | None:
        """The part of the table for `node`; None: it has a problem.

        `peers`: the other nodes of [heartbeat].
        """
        table, known = dict(table), len(self._tables.problems)
        resources = table.pop("resource", {})
        wrong = self._tables.check(table, schema.schema(*keys.INSTANCE), self.path)
        table = {key: value for key, value in table.items() if key not in wrong}
        options = schema.build(InstanceOptions, table)
        self.members, self.budget = options.members, options.budget
        vips = self._vips(options.vips, "" if "interface" in wrong else options.interface)
        specs: dict[str, ResourceSpec] = {}
        carriers: dict[str, tuple[str, ...] | None] = {}
        for name, each, path in self._tables.tables_in(resources, (*self.path, "resource")):
            read = self._resource(name, each, path)
            if read is not None:
                specs[name], carriers[name] = read
        if isinstance(resources, dict):
            self._check_needs(resources)
        if len(self._tables.problems) > known:
            return None
        self.nodes = tuple(sorted({node for each in carriers.values() for node in each or ()}))
        others = {name: tuple(p for p in peers if nodes.overlap((p,), each)) for name, each in carriers.items()}
        here = {
            name: replace(spec, others=others[name])
            for name, spec in specs.items()
            if nodes.carries(carriers[name], node)
        }
        self.stop_time = votes.stop_time(InstanceSpec(name=self.name, resources=specs))
        return InstanceSpec(
            name=self.name,
            vips=vips,
            resources=here,
            elsewhere={name: each or () for name, each in carriers.items() if name not in here},
            only_here=tuple(name for name in here if len({nodes.short(each) for each in carriers[name] or ()}) == 1),
            others=tuple(peer for peer in peers if any(peer in each for each in others.values())),
            **schema.values(InstanceKeys, table),
        )

    def _resource(
        self, name: str, table: dict[str, Any], path: Path
    ) -> tuple[ResourceSpec, tuple[str, ...] | None] | None:
        """The resource, and the nodes that can carry it (None: all); None when its table has a problem."""
        driver = table.get("driver")
        try:
            found = drivers.find(driver) if isinstance(driver, str) else None
        except KeyError:
            self._tables.problem(
                (*path, "driver"), f'no driver "{driver}"; {schema.suggest(str(driver), drivers.names())}'
            )
            return None
        if found is None:
            self._tables.check(table, {**schema.schema(*keys.RESOURCE), "additionalProperties": schema.VALUES}, path)
            return None
        wrong = self._tables.check(table, schema.schema(*keys.RESOURCE, found.options), path)
        own: drivers.Options | None = None
        if wrong.isdisjoint(schema.schema(found.options)["properties"]):
            try:
                own = schema.build(found.options, table)
            except ValueError as error:
                self._tables.problem(path, str(error))
        if wrong or own is None:
            return None
        carriers = schema.build(ResourceOptions, table).nodes
        for thing in own.owns:
            self._tables.own(thing, path, carriers)
        spec = ResourceSpec(
            instance=self.name,
            name=name,
            options=own,
            moves=drivers.moved_by(own),
            **schema.values(ResourceKeys, table),
        )
        return spec, carriers

    def _vips(self, texts: tuple[str, ...], interface: str | None) -> tuple[Vip, ...]:
        vips: dict[addresses.Place, Vip] = {}
        for text in texts:
            try:
                vip = addresses.vip(text, interface)
            except ValueError as error:
                self._tables.problem((*self.path, "vips"), str(error))
                continue
            place = addresses.place(vip)
            if place in vips:
                self._tables.problem((*self.path, "vips"), f'"{text}" is listed twice; expected once')
            vips[place] = vip
        return tuple(vips.values())

    def _check_needs(self, resources: Mapping[str, Any]) -> None:
        """Report every problem of `needs` between the tables, even of those that are invalid otherwise."""
        tables = {name: table if isinstance(table, dict) else {} for name, table in resources.items()}
        needs = {name: files.strings(table.get("needs", [])) or () for name, table in tables.items()}
        carriers = {name: files.strings(table["nodes"]) if "nodes" in table else None for name, table in tables.items()}
        vague = {name for name, table in tables.items() if "nodes" in table and carriers[name] is None}
        for name, needed in needs.items():
            for need in needed:
                path = (*self.path, "resource", name, "needs")
                if need not in resources:
                    self._tables.problem(path, f'there is no resource "{need}"; {schema.suggest(need, resources)}')
                elif vague.isdisjoint((name, need)) and not nodes.within(carriers[name], carriers[need]):
                    only = f"only on {', '.join(carriers[need] or ())}"
                    self._tables.problem(path, f'"{need}" is {only}; expected it on every node that carries "{name}"')
        cycle = _cycle({name: [need for need in needed if need in resources] for name, needed in needs.items()})
        if cycle:
            path = (*self.path, "resource", cycle[0], "needs")
            self._tables.problem(path, f"circular needs: {' needs '.join(cycle)}")


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
