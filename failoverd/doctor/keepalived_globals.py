"""The lines of global_defs, and the two ways in which keepalived reports: the FIFO and the hook."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from failoverd.core.spec import InstanceSpec
from failoverd.daemon.access import SCRIPT_USER
from failoverd.doctor import keepalived_lines
from failoverd.doctor.finding import Finding
from failoverd.doctor.keepalived_conf import Statement
from failoverd.doctor.site import Site

#: Lines of global_defs, each with the consequence where it is missing.
_GLOBALS = {
    "script_user root": "keepalived then removes every script: there is no user keepalived_script on this machine.",
    "enable_script_security": "keepalived then runs a script as root that another user could have changed.",
    "reload_check_config": "A mistake in the file then ends keepalived at its next reload, and the VIPs are gone.",
    "enable_dbus": "A failoverd that was restarted cannot ask for the state, and waits for the next change.",
}
_FOR_SCRIPTS = frozenset({"script_user", "enable_script_security"})

_FIFO = ("vrrp_notify_fifo", "notify_fifo")
_FIFO_SCRIPT = ("vrrp_notify_fifo_script", "notify_fifo_script")


def fifos(site: Site, top: Statement) -> list[Statement]:
    """The lines that name a FIFO in failoverd's directory."""
    lines = [each for block in top.all("global_defs") for each in block.all(*_FIFO)]
    return [each for each in lines if each.name.startswith(f"{site.runtime_dir}/")]


def hook(site: Site, top: Statement, instance: InstanceSpec, notify: Statement, path: str) -> Iterator[Finding]:
    """The hook exists, keepalived will run it, and failoverd accepts its user."""
    user = next(iter(notify.words[2:]), None) or _script_user(top)
    problem = _insecure(Path(path), user)
    if problem:
        yield Finding(
            code="keepalived-hook",
            about=instance.name,
            wrong=f"keepalived will not run the hook {path}: {problem[0]}",
            why="keepalived leaves such a script out with one line in its log, and failoverd gets no report.",
            where=notify.at if not problem[1] else "",
            fix=problem[1] or f"    {keepalived_lines.NOTIFY}",
        )
    if user not in {"root", "0", SCRIPT_USER, site.configuration.script_user}:
        yield Finding(
            code="keepalived-script-user",
            about=instance.name,
            wrong=f"keepalived runs the hook as {user}, and failoverd does not expect that user",
            why="failoverd rejects the events of users who may not report.",
            where=_global_at(site, top),
            fix="    script_user root",
        )


def _script_user(top: Statement) -> str:
    """The user as whom keepalived runs scripts."""
    for block in reversed(top.all("global_defs")):
        statement = block.last("script_user")
        if statement is not None:
            return statement.name
    return SCRIPT_USER if _exists(SCRIPT_USER) else "root"


def _insecure(path: Path, user: str) -> tuple[str, str] | None:
    """Why keepalived does not run this script, and the command that mends it; None: it runs it."""
    try:
        found = path.resolve(strict=True)
        for each in (found, *found.parents):
            seen = each.stat()
            if seen.st_uid != 0 and user in {"root", "0"}:
                return f"{each} does not belong to root", f"chown root: {shlex.quote(str(each))}"
            if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not seen.st_mode & stat.S_ISVTX:
                return f"others may write {each}", f"chmod go-w {shlex.quote(str(each))}"
        if not found.stat().st_mode & stat.S_IXUSR:
            return f"{found} is not executable", f"chmod a+x {shlex.quote(str(found))}"
    except OSError as error:
        return os.strerror(error.errno or 0), ""
    return None


def findings(site: Site, top: Statement) -> Iterator[Finding]:
    """Lines of ``global_defs``, and whether another program would read failoverd's FIFO."""
    blocks = top.all("global_defs")
    path = f"{site.runtime_dir}/keepalived.fifo"
    known = fifos(site, top)
    for script in [each for block in blocks for each in block.all(*_FIFO_SCRIPT) if known]:
        yield Finding(
            code="keepalived-fifo-reader",
            about="keepalived",
            wrong=f"`{script.words[0]}` starts a second reader of failoverd's FIFO",
            why="Each line goes to one reader only: failoverd loses those that the other one reads.",
            where=script.at,
            fix=f"remove the line `{' '.join(script.words)}`",
        )
    for line in [each for each in known if path not in (it.name for it in known)]:
        yield Finding(
            code="keepalived-fifo-path",
            about="keepalived",
            wrong=f"keepalived writes into {line.name}, which failoverd does not read",
            why="failoverd gets no report from it.",
            where=line.at,
            fix=f"    {keepalived_lines.fifo(site.runtime_dir)}",
        )
    if not blocks:
        yield Finding(
            code="keepalived-no-globals",
            about="keepalived",
            wrong=f"{site.keepalived.conf} has no global_defs",
            why="keepalived cannot report to failoverd reliably, and a mistake in the file ends it at its next reload.",
            where=f"{site.keepalived.conf}:1",
            fix=keepalived_lines.globals_block(site.configuration, site.runtime_dir).rstrip("\n"),
        )
        return
    scripts = not known or "vrrp_script" in {each.words[0] for each in top.block} or _notifies(top)
    for needed, why in _GLOBALS.items():
        keyword = needed.split()[0]
        if any(block.all(keyword) for block in blocks):
            continue
        if keyword in _FOR_SCRIPTS and (not scripts or (keyword == "script_user" and _exists(SCRIPT_USER))):
            continue
        yield Finding(
            code=f"keepalived-{keyword.replace('_', '-')}",
            about="keepalived",
            wrong=f"keepalived.conf has no `{keyword}`",
            why=why,
            where=blocks[0].at,
            fix=f"    {needed}",
        )


def _notifies(top: Statement) -> bool:
    return any(
        line.words[0].startswith("notify")
        for each in top.all("vrrp_instance", "vrrp_sync_group")
        for line in each.block
    )


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _global_at(site: Site, top: Statement) -> str:
    return next((block.at for block in top.all("global_defs")), f"{site.keepalived.conf}:1")
