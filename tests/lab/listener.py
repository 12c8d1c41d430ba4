"""A witness that is nothing else: accepts connections, and answers each HTTP request with 204.

listener.py PORT
"""

import contextlib
import socket
import sys
from typing import NoReturn

_SECONDS = 1.0
#: A frozen listener takes no connection out of its queue, and the kernel must go on accepting for it.
_BACKLOG = 1024


def serve(port: int) -> NoReturn:
    """Answer for ever."""
    with socket.create_server(("", port), backlog=_BACKLOG) as listening:
        while True:
            connection, _peer = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_SECONDS)
                if connection.recv(4096):
                    connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
