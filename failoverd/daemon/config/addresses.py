"""Parse a VIP in the syntax of keepalived.conf's virtual_ipaddress, and a loopback address; check names of interfaces.

It must not read the machine's own addresses or interfaces.
"""

from __future__ import annotations

import ipaddress

from failoverd.core.spec import Vip

#: IFNAMSIZ of linux/if.h, without the terminating zero.
INTERFACE_MAX_BYTES = 15

#: The number of TCP ports, of which 0 is none.
_PORTS = 65536

#: keepalived.conf(5), virtual_ipaddress: the keywords after an address, with a value and without.
_VALUED = ("dev", "brd", "broadcast", "scope", "label", "peer", "preferred_lft", "track_group")
_ALONE = ("home", "-nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track")

#: An address in its 4 or 16 bytes, and its interface.
Place = tuple[bytes, str]

_EXPECTED = 'expected "ADDRESS[/PREFIX] [dev INTERFACE]"'


def interface_problem(name: str) -> str | None:
    """Why no interface can have that name, with the name that may be meant; None: one can."""
    plain, at, _ = name.partition("@")
    if at and plain:
        return f'"{name}" is not a name: the part from the @ on is the parent interface; expected "{plain}"'
    plain, colon, _ = name.partition(":")
    if colon and plain:
        return f'"{name}" is the label of an address; expected the interface "{plain}"'
    if len(name.encode()) > INTERFACE_MAX_BYTES:
        return f'the interface "{name}" has {len(name.encode())} bytes; expected at most {INTERFACE_MAX_BYTES}'
    if name in ("", ".", "..") or not name.isprintable() or any(each in " /:" for each in name):
        return f'no interface can have the name "{name}"; expected a name as `ip link` shows it'
    return None


def loopback(text: str) -> tuple[str, int]:
    """The address and port of ``127.0.0.1:9705`` or ``[::1]:9705``. ValueError: one line for an operator."""
    expected = 'expected a loopback address and a port from 1 to 65535, such as "127.0.0.1:9705" or "[::1]:9705"'
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        number = int(port) if port.isascii() and port.isdigit() else 0
    except ValueError:
        raise ValueError(f'"{text}" is not an address with a port; {expected}') from None
    if not address.is_loopback:
        why = "anybody who reaches it could read the state of this machine"
        raise ValueError(f'"{text}" is not on the loopback interface, and {why}; {expected}')
    if not 0 < number < _PORTS:
        raise ValueError(f'"{text}" has no valid port; {expected}')
    return str(address), number


def loopback_problem(text: str) -> str | None:
    """Why `loopback` rejects the text; None: it does not."""
    try:
        loopback(text)
    except ValueError as error:
        return str(error)
    return None


def vip(text: str, interface: str | None) -> Vip:
    """Parse a VIP; `interface`: the one to use where `text` has none. ValueError: one line for an operator."""
    address, *words = text.split() or [""]
    where = _where(text, words) or interface
    try:
        plain = ipaddress.ip_interface(address).ip
    except ValueError:
        raise ValueError(f'"{text}" is not an address; {_EXPECTED}') from None
    if "%" in address:
        zone = address.partition("%")[2].partition("/")[0]
        expected = f'expected "{address.replace(f"%{zone}", "")} dev {zone}"'
        raise ValueError(f'"{text}": keepalived does not support a zone; {expected}')
    if plain.is_unspecified or plain.is_multicast:
        raise ValueError(f'"{text}" is not a unicast address; {_EXPECTED}')
    if where is None:
        raise ValueError(f'"{text}" has no interface; expected `interface = "…"` beside, or "{address} dev INTERFACE"')
    return Vip(address=address, interface=where)


def _where(text: str, words: list[str]) -> str | None:
    """The interface after ``dev``; None: there is no ``dev``. ValueError: a keyword is invalid."""
    where = None
    rest = iter(words)
    for word in rest:
        if word == "use_vmac":
            expected = 'expected "… dev vrrp.51", as `ip address` shows it'
            raise ValueError(f'"{text}": with use_vmac the VIP is on an interface of keepalived; {expected}')
        if word in _ALONE:
            continue
        value = next(rest, None)
        if word not in _VALUED or value is None:
            wrong = f"`{word}` needs a value" if word in _VALUED else f"`{word}` is an unknown keyword"
            raise ValueError(f'"{text}": {wrong}; {_EXPECTED}, or the line of keepalived.conf')
        if word == "dev":
            where = value
    if where is not None and (wrong_name := interface_problem(where)) is not None:
        raise ValueError(f'"{text}": {wrong_name}')
    return where


def place(vip: Vip) -> Place:
    """The address and interface of a VIP in comparable form. ValueError: the address is invalid."""
    return ipaddress.ip_interface(vip.address).packed, vip.interface
