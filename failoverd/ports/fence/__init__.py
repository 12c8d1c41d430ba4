"""The port to fence agents: programs that power another machine off, and prove it.

It must not decide whether a machine is to be powered off.
"""

from __future__ import annotations

from failoverd.ports.fence.agent import Power, Report, lacking, obstacles, power_off, status
from failoverd.ports.fence.credentials import STORE, CredentialUnusable
from failoverd.ports.fence.metadata import RESERVED

__all__ = ["RESERVED", "STORE", "CredentialUnusable", "Power", "Report", "lacking", "obstacles", "power_off", "status"]
