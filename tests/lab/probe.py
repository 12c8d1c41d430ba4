"""The client's process: sends a numbered packet every few milliseconds and records what comes back.

Each packet sent and each answer is one record of fixed size, appended to a file as it happens, so that whoever reads
the file sees everything up to now. Times are CLOCK_MONOTONIC in nanoseconds, which all namespaces share. Standard
library only.

    probe.py RECORDS PORT INTERVAL_MS ADDRESS...

Several addresses take turns.
"""

import contextlib
import os
import socket
import struct
import sys
import time
from typing import NoReturn

NUMBER = struct.Struct("!Q")
#: number of the packet, time in ns, name of the node that answered (empty: the packet was sent)
RECORD = struct.Struct("!QQ8s")


def probe(records: int, port: int, interval_ns: int, addresses: list[str]) -> NoReturn:
    """Send and record for ever; `records` is the file descriptor to append to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        number = 0
        due = time.monotonic_ns()
        while True:
            wait = due - time.monotonic_ns()
            if wait > 0:
                endpoint.settimeout(wait / 1e9)
                try:
                    answer = endpoint.recv(64)
                except TimeoutError:
                    continue
                except OSError:
                    # An ICMP error for an earlier packet: that packet is unanswered, which is recorded by absence.
                    continue
                (answered,) = NUMBER.unpack_from(answer)
                os.write(records, RECORD.pack(answered, time.monotonic_ns(), answer[NUMBER.size :]))
                continue
            number += 1
            os.write(records, RECORD.pack(number, time.monotonic_ns(), b""))
            # Without a route the packet counts as sent and stays unanswered.
            with contextlib.suppress(OSError):
                endpoint.sendto(NUMBER.pack(number), (addresses[number % len(addresses)], port))
            due += interval_ns


if __name__ == "__main__":
    probe(
        os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        int(sys.argv[2]),
        int(sys.argv[3]) * 1_000_000,
        sys.argv[4:],
    )
