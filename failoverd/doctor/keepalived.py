"""keepalived.conf, held against failoverd.toml: instances, VIPs, the ways to report, and the track files."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from failoverd.core.spec import InstanceSpec, Vip
from failoverd.daemon.config import addresses
from failoverd.doctor import keepalived_conf, keepalived_globals, keepalived_lines
from failoverd.doctor.finding import Finding
from failoverd.doctor.keepalived_conf import Statement
from failoverd.doctor.keepalived_instances import Instance, instances, vips
from failoverd.doctor.site import HOOK, Keepalived, Site
from failoverd.osutil import processes, threads
from failoverd.ports import command

#: It reads all files and every interface, which takes it 20 ms.
_TEST_TIMEOUT_S = 5.0
#: Lines of keepalived's own messages that are shown.
_MAX_LINES = 4

#: In messages of keepalived that have a finding of their own.
_EXPLAINED = ("nopreempt will not work", "script_security not enabled", "Unable to set default user")

#: The name of the file in memory, which keepalived makes for its child processes (``lib/parser.c``).
_IN_MEMORY = "keepalived/consolidated_configuration"


async def look(site: Site) -> list[Finding]:
    """All findings in keepalived.conf. OSError: it cannot be read. Raises DriverError if keepalived cannot be asked."""
    conf = site.keepalived.conf
    if not await threads.run(conf.exists):
        return [_absent(conf)]
    tested = await command.run(site.keepalived.command("--config-test"), timeout=_TEST_TIMEOUT_S)
    try:
        top, _ = await threads.run(keepalived_conf.read, conf, site.keepalived.name)
    except keepalived_conf.Unreadable as error:
        return [_unreadable(error)]
    found = [*_complaints(conf, tested), *await threads.run(lambda: [*_loaded(site.keepalived), *_findings(site, top)])]
    return list(dict.fromkeys(found))


def _absent(conf: Path) -> Finding:
    return Finding(
        code="keepalived-no-conf",
        about="keepalived",
        wrong=f"there is no {conf}",
        why="keepalived does not start, and this node never becomes MASTER.",
        fix=f"failoverctl keepalived-config >{shlex.quote(str(conf))}    # then replace what is marked CHOOSE",
    )


def _unreadable(error: keepalived_conf.Unreadable) -> Finding:
    return Finding(
        code="keepalived-unreadable",
        about="keepalived",
        wrong=f"cannot read keepalived.conf: {error}",
        why="Nothing in keepalived.conf could be compared with failoverd.toml.",
        where=str(error).partition(": ")[0],
        fix="write the lines out",
    )


def _complaints(conf: Path, tested: command.Completed) -> Iterator[Finding]:
    """The messages of keepalived itself, except that which `_findings` explains."""
    said = [line.strip() for line in (*tested.stdout.splitlines(), *tested.stderr.splitlines())]
    explained: tuple[str, ...] = _EXPLAINED
    if any("Unable to set default user" in line for line in said):
        explained = (*explained, "track script")  # which it has removed therefore
    lines = [line for line in dict.fromkeys(said) if line and not any(each in line for each in explained)]
    if lines:
        yield Finding(
            code="keepalived-rejects",
            about="keepalived",
            wrong=f"keepalived complains about its configuration: {'; '.join(lines[:_MAX_LINES])}",
            why="keepalived does not start with such a file, or leaves out what it complains about.",
            fix=f"keepalived --config-test --use-file {shlex.quote(str(conf))}",
        )


def _loaded(used: Keepalived) -> Iterator[Finding]:
    """Whether the running keepalived has read the file as it is now: it keeps the text that it has read in memory."""
    if used.pid is None:
        return
    for descriptor in (processes.PROC / str(used.pid) / "fd").iterdir():
        try:
            if _IN_MEMORY not in str(descriptor.readlink()):
                continue
            text = descriptor.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:  # it was closed
            continue
        now = keepalived_conf.words(used.conf, used.name)
        if keepalived_conf.words(used.conf, used.name, text) != now:
            yield Finding(
                code="keepalived-not-loaded",
                about="keepalived",
                wrong=f"the running keepalived has not read {used.conf} as it is now",
                why="What was changed in it is not in effect: this node behaves as before.",
                fix="systemctl reload keepalived",
            )


def _findings(site: Site, top: Statement) -> Iterator[Finding]:
    known = instances(top)
    if not site.configuration.core.instances:
        yield Finding(
            code="nothing-followed",
            about="failoverd",
            wrong=f"{site.configuration.files[0]} has no [instance.NAME]",
            why="failoverd follows nothing, and nothing on this machine follows the VIP.",
            fix="failoverctl init",
        )
    yield from keepalived_globals.findings(site, top)
    for instance in site.instances:
        there = known.get(instance.name)
        if there is None:
            yield _missing(site, instance, known)
            continue
        yield from _members(site, instance, there)
        yield from _vips(site, top, instance, there)
        yield from _preemption(instance, there)
        yield from _reports(site, top, instance, there)
        yield from _track_file(site, top, instance, there)


def _missing(site: Site, instance: InstanceSpec, known: dict[str, Instance]) -> Finding:
    near = difflib.get_close_matches(instance.name, known, 1) or sorted(known)[:1]
    return Finding(
        code="keepalived-no-instance",
        about=instance.name,
        wrong=f"{site.keepalived.conf} has no vrrp_instance or vrrp_sync_group {instance.name}; "
        f"it has {', '.join(sorted(known)) or 'none'}",
        why="keepalived never reports it, so failoverd never activates its resources.",
        where=site.file_of(instance.name),
        fix=f"[instance.{near[0] if near else 'NAME'}]",
    )


def _members(site: Site, instance: InstanceSpec, there: Instance) -> Iterator[Finding]:
    named = site.configuration.members.get(instance.name, ())
    real = tuple(each.name for each in there.members) if there.is_group else ()
    if set(named) != set(real):
        wrong = f"members has {', '.join(named) or 'nothing'}; the group has {', '.join(real)}"
        yield Finding(
            code="keepalived-members",
            about=instance.name,
            wrong=wrong if there.is_group else f"{instance.name} is a vrrp_instance, and has no members",
            why="D-Bus reports the states of members, not the group's: failoverd would miss or misread them.",
            where=site.file_of(instance.name),
            fix=f"members = {_list(real)}" if there.is_group else "remove the line `members`",
        )


def _vips(site: Site, top: Statement, instance: InstanceSpec, there: Instance) -> Iterator[Finding]:
    real, excluded = vips(top, there)
    wanted, sent, others = (
        {addresses.place(each) for each in some} for some in (instance.vips, real, (*real, *excluded))
    )
    if not (sent <= wanted <= others):
        lacking = [_vip(each) for each in instance.vips if addresses.place(each) not in others]
        extra = [_vip(each) for each in real if addresses.place(each) not in wanted]
        texts = [f"failoverd.toml alone has {', '.join(lacking)}"] if lacking else []
        texts += [f"keepalived.conf alone has {', '.join(extra)}"] if extra else []
        yield Finding(
            code="keepalived-vips",
            about=instance.name,
            wrong=f"the VIPs differ: {'; '.join(texts)}",
            why="failoverd refuses a promotion without all of its VIPs, and does not notice the loss of any other.",
            where=site.file_of(instance.name),
            fix=f"vips = {_list([_vip(each) for each in real])}    # as {there.statement.at} has them",
        )


def _vip(vip: Vip) -> str:
    return f"{vip.address} dev {vip.interface}"


def _list(texts: tuple[str, ...] | list[str]) -> str:
    return f"[{', '.join(json.dumps(text) for text in texts)}]"


def _preemption(instance: InstanceSpec, there: Instance) -> Iterator[Finding]:
    for member in there.members:
        state, nopreempt = member.last("state"), member.last("nopreempt")
        if nopreempt is not None and state is not None and state.name == "MASTER":
            yield Finding(
                code="keepalived-nopreempt-master",
                about=instance.name,
                wrong=f"{member.name} has `nopreempt` and `state MASTER`, so keepalived ignores nopreempt",
                why="A node that comes back takes mastership at once, and all resources move a second time.",
                where=state.at,
                fix="    state BACKUP",
            )
        if nopreempt is None and not instance.preempt:
            yield Finding(
                code="keepalived-preempts",
                about=instance.name,
                wrong=f"failoverd.toml says `preempt = false`, and {member.name} has no `nopreempt`",
                why="failoverd would record an ordinary preemption as a double MASTER.",
                where=member.at,
                fix="    nopreempt",
            )


def _reports(site: Site, top: Statement, instance: InstanceSpec, there: Instance) -> Iterator[Finding]:
    """Whether every change of state arrives, by the FIFO or by the hook."""
    notify = there.statement.last("notify")
    words = shlex.split(notify.name) if notify is not None and notify.name else [""]
    if notify is not None and Path(words[0]).name == Path(HOOK).name and "failoverd" in words[0]:
        yield from keepalived_globals.hook(site, top, instance, notify, words[0])
    elif not keepalived_globals.fifos(site, top):
        partial = there.statement.all("notify_master", "notify_backup", "notify_fault", "notify_stop")
        yield Finding(
            code="keepalived-no-report",
            about=instance.name,
            wrong=f"keepalived reports no change of {instance.name} to failoverd: there is neither the FIFO "
            f"{site.runtime_dir}/keepalived.fifo nor a line `notify`"
            + (f"; {partial[0].words[0]} does not pass the state" if partial else ""),
            why="failoverd never learns that this node is MASTER, and starts nothing.",
            where=there.statement.at,
            fix=f"    {keepalived_lines.NOTIFY}",
        )


def _track_file(site: Site, top: Statement, instance: InstanceSpec, there: Instance) -> Iterator[Finding]:
    """The track file by which failoverd releases mastership is in use, is its own, and makes a FAULT."""
    path = keepalived_lines.track_path(site.runtime_dir, instance.name)
    declared = {each.name: each for each in top.all("track_file", "vrrp_track_file")}
    entries = [entry for each in (there.statement, *there.members) for entry in each.items("track_file")]
    tracked = {entry.words[0]: entry for entry in entries if entry.words[0] in declared}
    files = {name: _file(declared[name]) for name in tracked}
    own = [name for name, file in files.items() if file == path]
    foreign = [name for name, file in files.items() if file != path and file.startswith(f"{site.runtime_dir}/track/")]
    if foreign:
        yield Finding(
            code="keepalived-track-path",
            about=instance.name,
            wrong=f"{instance.name} tracks {files[foreign[0]]}, which is not its own track file",
            why="It would give up mastership when failoverd releases another instance, and not when it should.",
            where=(declared[foreign[0]].last("file") or declared[foreign[0]]).at,
            fix=f"    file {keepalived_lines.quoted(path)}",
        )
    elif not own:
        declaration = [name for name, each in declared.items() if _file(each) == path]
        use = keepalived_lines.tracked(declaration[0] if declaration else instance.name)
        declare = f"{keepalived_lines.track_file(site.runtime_dir, instance.name)}\n# and inside {instance.name}:\n"
        yield Finding(
            code="keepalived-no-track-file",
            about=instance.name,
            wrong=f"{instance.name} does not track {path}",
            why="Neither `failoverctl standby` nor failoverd itself can give mastership to another node: "
            "a MASTER that cannot serve stays MASTER.",
            where=there.statement.at,
            fix=use if declaration else f"# before {instance.name}:\n{declare}{use}",
        )
    for name in own:
        weight = _weight(tracked[name], declared[name])
        if weight > 0:
            yield Finding(
                code="keepalived-track-weight",
                about=instance.name,
                wrong=f"the track file {name} has the weight {weight}",
                why="The 1 with which failoverd releases mastership then raises the priority, and nothing is released.",
                where=declared[name].at,
                fix="    weight 0",
            )


def _file(declared: Statement) -> str:
    statement = declared.last("file")
    return statement.name if statement is not None else ""


def _weight(entry: Statement, declared: Statement) -> int:
    """The weight of a track file; keepalived's default is 1."""
    own = declared.last("weight")
    texts = [entry.words[place + 1] for place, word in enumerate(entry.words[:-1]) if word == "weight"]
    texts += [own.name] if own is not None else []
    try:
        return int(texts[0]) if texts else 1
    except ValueError:
        return 0  # keepalived reports it
