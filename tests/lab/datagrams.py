"""Records the heartbeats that reach a node, and sends them again under the address of the node that had sent them.

Runs in a node of the laboratory. Standard library only.

    datagrams.py record NUMBER SOURCE        prints so many of them, one in each line, in hexadecimal
    datagrams.py send SOURCE TARGET PORT     sends those that it reads, from and to that port
"""

import socket
import sys

_ETH_P_IP = 0x0800
_PROTOCOL, _UDP = 9, 17


def record(number: int, source: str, port: int = 5409) -> None:
    """Print the next datagrams from `source` to the port."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP)) as tap:
        while number:
            packet = tap.recv(65535)
            header = (packet[0] & 15) * 4
            udp = packet[header : header + 8]
            if packet[_PROTOCOL] != _UDP or packet[12:16] != socket.inet_aton(source):
                continue
            if int.from_bytes(udp[2:4], "big") == port:
                print(packet[header + 8 :].hex(), flush=True)
                number -= 1


def send(source: str, target: str, port: int) -> None:
    """Send every datagram of the standard input."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        endpoint.bind((source, port))
        for line in sys.stdin:
            endpoint.sendto(bytes.fromhex(line), (target, port))


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "record":
        record(int(words[0]), words[1])
    else:
        send(words[0], words[1], int(words[2]))
