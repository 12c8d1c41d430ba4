"""The client's process: writes down every packet that comes in, with the moment (CLOCK_MONOTONIC, nanoseconds).

    listener.py RECORDS PORT

One line each. Standard library only.
"""

import os
import socket
import sys
import time
from typing import NoReturn


def listen(records: int, port: int) -> NoReturn:
    """Write down for ever; `records` is the file descriptor to append to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.bind(("0.0.0.0", port))  # noqa: S104  # the namespace is the laboratory's own
        while True:
            packet = endpoint.recv(4096)
            os.write(records, b"%d %s\n" % (time.monotonic_ns(), packet.strip().replace(b"\n", b" ")))


if __name__ == "__main__":
    listen(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), int(sys.argv[2]))
