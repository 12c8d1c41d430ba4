"""How many may be connected to the control socket at once, and that no stranger keeps an operator out."""

from __future__ import annotations

from collections import Counter

from failoverd.daemon.access import Peer

#: The most clients at once, how many of these places are for root and operators only, and the most that one stranger
#: may have.
CLIENTS, KEPT, EACH = 64, 16, 8


class Places:
    """Who is connected. A stranger is who is not known to be root or an operator."""

    def __init__(self, clients: int = CLIENTS, kept: int = KEPT, each: int = EACH) -> None:
        self._clients = clients
        self._strangers = clients - kept
        self._each = each
        self._taken: Counter[int] = Counter()

    def take(self, peer: Peer) -> str | None:
        """Give `peer` a place until `leave`; or why there is none."""
        if not peer.known_to_act and self._taken[peer.uid] >= self._each:
            return f"at most {self._each} at once for one user who is no operator"
        if self._taken.total() >= (self._clients if peer.known_to_act else self._strangers):
            return f"at most {self._clients} at once; try again"
        self._taken[peer.uid] += 1
        return None

    def leave(self, peer: Peer) -> None:
        """It is not connected any more."""
        self._taken[peer.uid] -= 1
        self._taken += Counter()  # forgets those who have no place
