"""Hooks whose word is not taken: run with wrong words, or as somebody who may not tell. Shown, with what to change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failoverd.daemon.intake.wire import parse_complaint, parse_hook
from failoverd.trouble import troubles

if TYPE_CHECKING:
    from failoverd.daemon.access import Peer
    from failoverd.daemon.intake.errors import Complaints

#: Seconds for which it is shown: nobody says that keepalived.conf was mended.
SHOWN = 3600.0

_WORDS = "hook's words"


class Strangers:
    """Counts them, and names them as trouble."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._naming: set[asyncio.Task[None]] = set()

    def wrong_words(self, line: bytes) -> bool:
        """Whether `line` is a hook's complaint that somebody ran it with wrong words."""
        words = parse_complaint(line)
        if words is None:
            return False
        self._complaints.reject("a hook was run with wrong words", words=words)
        expected = "expected INSTANCE|GROUP NAME STATE [PRIORITY], which keepalived itself adds in a line `notify`"
        troubles.begin(_WORDS, f"keepalived.conf runs the hook with wrong words ({words}); {expected}", lasts=SHOWN)
        return True

    def turn_away(self, peer: Peer, line: bytes, followed: frozenset[str]) -> None:
        """`peer` may not tell, and told `line`. It is trouble where that is what keepalived would have said."""
        self._complaints.reject("who may not tell was turned away", uid=peer.uid, pid=peer.pid)
        handed = parse_hook(line)
        if handed and handed.said.name in followed and not self._naming:
            task = asyncio.create_task(self._name(peer, f"{handed.said.name} {handed.said.word}"))
            self._naming.add(task)
            task.add_done_callback(self._naming.discard)

    async def _name(self, peer: Peer, told: str) -> None:
        name = str(await peer.named())
        troubles.begin(
            f"hook of {name}",
            f"{name} told {told} and was turned away (pid {peer.pid}): if keepalived runs its scripts as {name}, write "
            f'script_user = "{name}" into [keepalived] of failoverd.toml and reload; or run the hook as root',
            lasts=SHOWN,
        )

    def close(self) -> None:
        """Name nobody any more."""
        for task in self._naming:
            task.cancel()
