"""Bird: bird.conf includes failoverd's file, announces the route by its symbol, and the session is up.

It reads bird.conf only to find the include and the uses of the symbol. bird itself says whether the file is valid.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from failoverd.core.spec import ResourceSpec
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site, running
from failoverd.doctor.units import owned
from failoverd.drivers.bird import control_socket
from failoverd.osutil import threads
from failoverd.ports import command

BIRD_CONF = Path("/etc/bird/bird.conf")
_TEST_TIMEOUT_S = 10.0
_MAX_DEPTH = 8

_COMMENT = re.compile(r'("[^"\n]*")|#[^\n]*|/\*.*?\*/', re.DOTALL)
_INCLUDE = re.compile(r'^\s*include\s+"([^"]+)"\s*;')
_WORD = re.compile(r'"[^"]*"|\w+|[{};]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of the symbol. `at`: FILE:LINE. `within`: the filter or function around it, empty: it has no name.

    None: it is in no filter.
    """

    at: str
    within: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """bird.conf with its includes: its lines in effect, without comments; and the patterns that it includes."""

    lines: tuple[tuple[str, str], ...]
    includes: tuple[str, ...]


async def look(site: Site) -> list[Finding]:
    """All findings about bird. OSError: bird.conf cannot be read. Raises DriverError if bird does not answer."""
    specs = list(site.resources("bird"))
    if not specs:
        return []
    _, words = await threads.run(running, "bird")
    conf = next((Path(words[at + 1]) for at, word in enumerate(words[:-1]) if word == "-c"), BIRD_CONF)
    text = await threads.run(read, conf)
    found = [finding for spec in specs for finding in await threads.run(lambda s=spec: list(_included(s, conf, text)))]
    if not found:
        found += await _rejected(words[0] if words else "bird", conf)
    found += [finding for spec in specs for finding in _announced(spec, conf, text)]
    if not any(each.options.unit.startswith("bird") for each in owned(site)):  # else it runs on the MASTER only
        for spec in specs:
            found += await _session(spec)
    return found


def read(conf: Path) -> Text:
    """Read bird.conf and all that it includes. OSError: a file cannot be read."""
    includes: list[str] = []
    return Text(lines=tuple(_lines(conf, includes, 0)), includes=tuple(includes))


def _lines(file: Path, includes: list[str], depth: int) -> Iterator[tuple[str, str]]:
    """Each line with its FILE:LINE, those of included files in their place; adds the paths to `includes`."""
    text = _COMMENT.sub(
        lambda it: it[1] or "\n" * it[0].count("\n"), file.read_text(encoding="utf-8", errors="replace")
    )
    for number, line in enumerate(text.split("\n"), start=1):
        include = _INCLUDE.match(line)
        if include is None:
            yield f"{file}:{number}", line
            continue
        pattern = str(file.parent / include[1])
        includes.append(pattern)
        for each in sorted(Path("/").glob(pattern.lstrip("/"))) if depth < _MAX_DEPTH else ():
            includes.append(str(each))
            yield from _lines(each, includes, depth + 1)


def uses(text: Text, symbol: str) -> tuple[list[Use], set[str]]:
    """The uses of the symbol; and the names of the filters and functions that something else uses."""
    found: list[Use] = []
    used: set[str] = set()
    blocks: list[list[str]] = []
    statement: list[str] = []
    for at, line in text.lines:
        for word in _WORD.findall(line):
            if word == "{":
                blocks.append(statement)
                statement = []
            elif word in "};":
                if word == "}" and blocks:
                    blocks.pop()
                statement = []
            else:
                statement.append(word)
                if word == symbol and statement[0] != "define":
                    found.append(Use(at=at, within=_within([*blocks, statement])))
                if len(statement) > 1 and statement[0] not in {"filter", "function"}:
                    used.add(word)
                elif len(statement) == 1 and blocks:
                    used.add(word)  # a call
    return found, used


def _within(blocks: list[list[str]]) -> str | None:
    for words in blocks:
        if words[:1] in (["filter"], ["function"]):
            return "".join(words[1:2])
        if "filter" in words or "where" in words:
            return ""
    return None


def _about(spec: ResourceSpec) -> str:
    return f"{spec.instance}.{spec.name}"


def _included(spec: ResourceSpec, conf: Path, text: Text) -> Iterator[Finding]:
    include, symbol = spec.options.include, spec.options.symbol
    define = f"define {symbol} = {spec.options.standby};"
    try:
        defined = re.search(rf"^\s*define\s+{symbol}\b", Path(include).read_text(encoding="utf-8"), re.MULTILINE)
    except FileNotFoundError:
        defined = None
    if defined is None:
        yield Finding(
            code="bird-undefined",
            about=_about(spec),
            wrong=f"{include} does not define {symbol}",
            why="bird does not start without it; failoverd writes it only when the resource changes its level.",
            fix=f"echo {shlex.quote(define)} >>{shlex.quote(include)}",
        )
    if include not in text.includes:
        yield Finding(
            code="bird-no-include",
            about=_about(spec),
            wrong=f"{conf} does not include {include}",
            why="bird never sees the value that failoverd writes there.",
            where=f"{conf}:1",
            fix=f'include "{include}";',
        )


async def _rejected(program: str, conf: Path) -> list[Finding]:
    argv = (program, "-p", "-c", str(conf))
    done = await command.run(argv, timeout=_TEST_TIMEOUT_S)
    if done.returncode == 0:
        return []
    said = command.last_line(done.stderr) or command.last_line(done.stdout)
    return [
        Finding(
            code="bird-rejects",
            about="bird",
            wrong=f"bird rejects its configuration: {said}",
            why="It does not start with it, and failoverd's next change of the metric fails.",
            fix=shlex.join(argv),
        )
    ]


def _announced(spec: ResourceSpec, conf: Path, text: Text) -> Iterator[Finding]:
    """The symbol decides about a route, in a filter that something uses."""
    symbol = spec.options.symbol
    found, used = uses(text, symbol)
    if not found:
        yield Finding(
            code="bird-unused",
            about=_about(spec),
            wrong=f"{conf} does not use {symbol}",
            why="The route has the same metric on every node, and the traffic goes anywhere.",
            where=str(conf),
            fix=f"    bgp_med = {symbol};    # in the filter of `export`; for OSPF: ospf_metric1 = {symbol};",
        )
    for use in (each for each in found if each.within is None):
        yield Finding(
            code="bird-no-filter",
            about=_about(spec),
            wrong=f"{use.at} uses {symbol} outside of a filter",
            why="There a new value restarts the session, and for seconds no route is announced.",
            where=use.at,
            fix=f"    bgp_med = {symbol};    # in the filter of `export`",
        )
    unused = [use for use in found if use.within and use.within not in used]
    if unused and len(unused) == len(found):
        yield Finding(
            code="bird-filter-unused",
            about=_about(spec),
            wrong=f"the filter {unused[0].within} uses {symbol}, and nothing uses the filter",
            why="The metric is never announced.",
            where=unused[0].at,
            fix=f"        export filter {unused[0].within};    # in the protocol that announces the route",
        )


async def _session(spec: ResourceSpec) -> list[Finding]:
    """Whether bird runs, and the session of the named protocol is up."""
    protocol = spec.options.protocol
    try:
        async with control_socket.session(spec.options.socket) as bird:
            reason = None if protocol is None else await bird.not_up(protocol)
    except control_socket.Absent as error:
        return [_silent(spec, "bird-not-running", error.reason, "systemctl start bird")]
    if reason is None:
        return []
    return [
        _silent(
            spec,
            "bird-session",
            reason,
            control_socket.birdc(spec.options.socket, control_socket.show_protocol(protocol or "", "all")),
        )
    ]


def _silent(spec: ResourceSpec, code: str, reason: str, fix: str) -> Finding:
    return Finding(
        code=code,
        about=_about(spec),
        wrong=reason,
        why=f"No peer learns {spec.options.prefix or 'the route'} from this node, whoever is MASTER.",
        fix=fix,
    )
