"""The echo service of a node: answers each of the client's packets with its number and the node's name.

Runs as a unit of its own on every node, MASTER or not: which of them is asked is decided by VRRP and routing alone.
The answer leaves from the address that was asked, as a service's would. Standard library only, and few of those: six
of these processes share two cores with everything else.

    responder.py PORT NODE
"""

import socket
import struct
import sys
from typing import NoReturn

# Linux's number; the socket module names it only from Python 3.12 on.
IP_PKTINFO = 8
_PKTINFO = struct.Struct("=I4s4s")


def serve(port: int, node: bytes) -> NoReturn:
    """Answer for ever."""
    room = socket.CMSG_SPACE(_PKTINFO.size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        endpoint.bind(("0.0.0.0", port))  # noqa: S104  # VIPs come and go; the namespace is the laboratory's own
        while True:
            number, control, _flags, sender = endpoint.recvmsg(64, room)
            _interface, _local, asked = _PKTINFO.unpack(control[0][2])
            answer_from = (socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, asked, bytes(4)))
            try:
                endpoint.sendmsg([number, node], [answer_from], 0, sender)
            except OSError:
                # The VIP left between question and answer: unanswered is what the client is to see.
                continue


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2].encode())
