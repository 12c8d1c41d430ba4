#!/usr/bin/python3 -IS
"""The fence agent of the laboratory, which asks its power switch (power.py). It keeps to the agents' convention.

Its options come by standard input, one `key=value` in each line. Without an action it reboots the machine, and a key
that it does not know is ignored. Exit status: 0; 2: `status` has found the machine off; 1: anything else.
"""

import socket
import sys

PORT = 623
_METADATA = """<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Fence agent for the laboratory's power switch">
<parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/></parameter>
<parameter name="ip" unique="0" required="1"><content type="string"/></parameter>
<parameter name="plug" unique="0" required="1"><content type="string"/></parameter>
</parameters>
<actions>
<action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/>
<action name="metadata"/>
</actions>
</resource-agent>
"""
_EXIT_STATUS = {"ON": 0, "OFF": 2, "done": 0}


def main() -> int:
    """Do one action."""
    options = {"action": "reboot"}
    for line in sys.stdin:
        key, _, value = line.strip().partition("=")
        if key in ("action", "ip", "plug"):
            options[key] = value
        else:
            print(f"Parse error: Ignoring unknown option '{key}={value}'", file=sys.stderr)
    if options["action"] == "metadata":
        print(_METADATA)
        return 0
    # Without a timeout, as the worst of them: the caller has one.
    with socket.create_connection((options["ip"], PORT)) as switch:
        switch.sendall(f"{options['action']} {options['plug']}\n".encode())
        answer = switch.makefile().readline().strip()
    print(f"Status: {answer}")
    return _EXIT_STATUS.get(answer, 1)


if __name__ == "__main__":
    sys.exit(main())
