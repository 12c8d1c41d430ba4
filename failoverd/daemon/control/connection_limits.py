"""Limits the clients of the control socket, so that no stranger keeps an operator out."""

from __future__ import annotations

from collections import Counter

from failoverd.daemon.access import Peer

#: Clients that are connected at once, at most, in addition to those that watch.
MAX_CLIENTS = 64

#: Clients that watch at once, at most: they stay, and must not take the places of requests.
MAX_WATCHERS = 32

#: Watchers of one user at once, at most. Root is such a user.
MAX_WATCHERS_PER_USER = 16

#: Places among MAX_CLIENTS, and among MAX_WATCHERS, that only root and operators can take.
RESERVED_PLACES = 16

#: Clients of one stranger at once, at most.
MAX_PER_STRANGER = 8


class ConnectionLimits:
    """The places that are taken, by uid. A stranger is a peer that is not known to be root or an operator."""

    def __init__(
        self,
        clients: int = MAX_CLIENTS,
        reserved: int = RESERVED_PLACES,
        per_stranger: int = MAX_PER_STRANGER,
        watchers: int = MAX_WATCHERS,
        watchers_per_user: int = MAX_WATCHERS_PER_USER,
    ) -> None:
        self._clients = clients
        self._reserved = reserved
        self._per_stranger = per_stranger
        self._watchers = watchers
        self._watchers_per_user = watchers_per_user
        self._taken: Counter[int] = Counter()
        self._watching: Counter[int] = Counter()

    def take(self, peer: Peer) -> str | None:
        """Give `peer` a place until `leave`. Returns the reason, one line, if there is none; None: it has its place."""
        if not peer.known_to_act and self._taken[peer.uid] >= self._per_stranger:
            return f"at most {self._per_stranger} at once for a user who is not an operator"
        if self._taken.total() - self._watching.total() >= self._clients - self._reserved_from(peer):
            return f"at most {self._clients} at once; try again"
        self._taken[peer.uid] += 1
        return None

    def leave(self, peer: Peer) -> None:
        """Free the place of `peer`, which has disconnected."""
        self._taken[peer.uid] -= 1
        self._taken += Counter()  # drops the users without a place

    def watch(self, peer: Peer) -> str | None:
        """Count `peer`, which has a place, as a watcher until `unwatch`. Returns as `take` does."""
        instead = "end some of them, or use: failoverctl status"
        if self._watching[peer.uid] >= self._watchers_per_user:
            return f"at most {self._watchers_per_user} at once for one user; {instead}"
        if self._watching.total() >= self._watchers - self._reserved_from(peer):
            return f"at most {self._watchers} at once; {instead}"
        self._watching[peer.uid] += 1
        return None

    def unwatch(self, peer: Peer) -> None:
        """Count `peer` no longer as a watcher; it still has its place."""
        self._watching[peer.uid] -= 1
        self._watching += Counter()

    def _reserved_from(self, peer: Peer) -> int:
        return 0 if peer.known_to_act else self._reserved
