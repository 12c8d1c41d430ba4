"""Show rejected hooks, with the remedy: those with invalid arguments, and those of users who may not report."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failoverd.daemon.intake.wire import parse_hook, parse_rejected_arguments
from failoverd.trouble import TroubleKind, troubles

if TYPE_CHECKING:
    from failoverd.daemon.access import Peer
    from failoverd.daemon.intake.errors import Rejections

#: Seconds for which a rejection is shown: nothing reports that keepalived.conf was fixed.
TROUBLE_LIFETIME_S = 3600.0

#: Rejected users that are shown by name.
MAX_NAMED = 3

#: Further rejected users that are counted.
MAX_COUNTED = 1000

#: Users whose names are looked up at once.
MAX_LOOKUPS = 16


class Strangers:
    """Counts rejected hooks, and names the users of a few of them as trouble."""

    def __init__(self, rejections: Rejections) -> None:
        self._rejections = rejections
        self._naming: dict[int, asyncio.Task[None]] = {}
        self._others: set[int] = set()
        self._reasons: dict[str, str] = {}

    def reject_arguments(self, line: bytes) -> bool:
        """Show the arguments if `line` is a hook's report that they are invalid; False: it is another line."""
        arguments = parse_rejected_arguments(line)
        if arguments is None:
            return False
        self._rejections.reject("rejected a hook with invalid arguments", arguments=arguments)
        expected = "expected INSTANCE|GROUP NAME STATE [PRIORITY], which keepalived adds to a `notify` line by itself"
        reason = f"keepalived.conf runs the hook with invalid arguments ({arguments}); {expected}"
        troubles.begin(TroubleKind.HOOK_ARGUMENTS, reason, lasts=TROUBLE_LIFETIME_S)
        return True

    def reject_user(self, peer: Peer, line: bytes, followed: frozenset[str]) -> None:
        """Count the `line` of a user who may not report; it is trouble if it reports a followed instance."""
        self._rejections.reject("rejected a hook of a user who may not report", uid=peer.uid, pid=peer.pid)
        hook = parse_hook(line)
        if not hook or hook.report.name not in followed:
            return
        if peer.uid in self._others:
            self._count(peer.uid)
        elif peer.uid not in self._naming and len(self._naming) < MAX_LOOKUPS:
            task = asyncio.create_task(self._name(peer, f"{hook.report.name} {hook.report.state}"))
            self._naming[peer.uid] = task
            task.add_done_callback(lambda _: self._naming.pop(peer.uid))

    async def _name(self, peer: Peer, reported: str) -> None:
        """Show the user's name. keepalived runs nothing as a user without one, of which there may be thousands."""
        name = (await peer.named()).name
        if name is None or (name not in self._named() and len(self._named()) >= MAX_NAMED):
            self._count(peer.uid)
            return
        if name not in self._named():
            self._reasons[name] = (
                f"failoverd rejected {reported} from user {name} (pid {peer.pid}); if keepalived runs its scripts as "
                f'{name}, write script_user = "{name}" into [keepalived] of failoverd.toml and reload; else run the '
                "hook as root"
            )
        troubles.begin(TroubleKind.HOOK_USER, self._reasons[name], subject=name, lasts=TROUBLE_LIFETIME_S)

    def _named(self) -> set[str]:
        named = {each.subject for each in troubles.standing if each.kind is TroubleKind.HOOK_USER}
        self._reasons = {name: reason for name, reason in self._reasons.items() if name in named}
        return named

    def _count(self, uid: int) -> None:
        if not any(each.kind is TroubleKind.HOOK_USERS for each in troubles.standing):
            self._others.clear()
        if len(self._others) < MAX_COUNTED:
            self._others.add(uid)
        least = 10 ** (len(str(len(self._others))) - 1)  # few different numbers, because each writes a line to the log
        troubles.begin(
            TroubleKind.HOOK_USERS,
            f"failoverd rejected events from {least} or more other users; write keepalived's script_user into "
            "[keepalived] of failoverd.toml and reload",
            lasts=TROUBLE_LIFETIME_S,
        )

    def close(self) -> None:
        """Stop the look-ups of names."""
        for task in self._naming.values():
            task.cancel()
