"""What the keepalived of a node counts, from the JSON that it writes when it is asked by signal (keepalived(8)).

A node that has just started keepalived cannot yet judge how long the MASTER has been silent. If the MASTER is killed
at that moment, another one may be first, whatever the priorities; so a laboratory waits until all have heard it.
"""

import functools
import json
import subprocess

from .node import Node
from .waiting import wait_for

_FILE = "/tmp/keepalived.json"
_SECONDS = 10.0


def adverts_heard(node: Node) -> int:
    """How many of the MASTER's adverts the node's keepalived has heard: of its instances the least."""
    file = node.path(_FILE)
    file.unlink(missing_ok=True)  # an earlier keepalived may have written it
    node.systemctl("kill", "--kill-whom=main", f"--signal={_json_signal()}", "keepalived.service")
    told = wait_for("keepalived writes its JSON", lambda: json.loads(file.read_text(encoding="utf-8")), within=_SECONDS)
    return min(int(instance["stats"]["advert_rcvd"]) for instance in told)


@functools.cache
def _json_signal() -> int:
    argv = ["keepalived", "--signum=JSON"]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=_SECONDS).stdout)
