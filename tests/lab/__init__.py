"""The laboratory: three real nodes, an upstream router and a client, on one machine and gone without a trace.

It exists because what failoverd promises can only be seen from outside: in the routes that a neighbour learns and
in the packets that a client gets answered. keepalived, bird, FRR, D-Bus and systemd are the real ones; only the wire
is made of veth pairs.

Modules, from the bottom: `run` names what a run owns and removes what dead runs left; `wire` makes network
namespaces and links; `waiting` waits for conditions; `profiles` says who is who; `configs` and `units` write the
files of a node; `node`, `upstream` and `client` are the actors; `lab` puts them together.
"""

from .lab import Lab
from .waiting import NotInTimeError, wait_for

__all__ = ["Lab", "NotInTimeError", "wait_for"]
