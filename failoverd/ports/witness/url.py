"""The text of a witness, such as ``tcp://192.0.2.1:22``. It must not use the network, and looks no name up."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass

_FORMS = {
    "tcp": ("tcp://HOST:PORT", "tcp://192.0.2.1:22"),
    "icmp": ("icmp://HOST", "icmp://192.0.2.1"),
    "http": ("http://HOST[:PORT]/PATH", "http://192.0.2.1:8080/health"),
    "etcd": ("etcd://HOST:PORT[,HOST:PORT…][/PREFIX]", "etcd://192.0.2.1:2379,192.0.2.2:2379,192.0.2.3:2379"),
    "exec": ("exec:///ABSOLUTE/PATH", "exec:///usr/local/sbin/witness"),
}
_HTTP_PORT = 80
_ETCD_PREFIX = "/failoverd"
_PORTS = 65536
_NAME_MAX_BYTES = 253
_ZONE = re.compile(r"%[^\]]*")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A host, an address or a name without brackets, and its port; `port` 0: the kind of witness has none."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def authority(self) -> str:
        """As the Host header of HTTP has it: without a zone, and without the default port."""
        return _ZONE.sub("", str(self)).removesuffix(f":{_HTTP_PORT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A witness as it was written. `kind`: its scheme. `path`: of the page, the program, or the keys in etcd."""

    kind: str
    endpoints: tuple[Endpoint, ...]
    path: str


def same(url: Url) -> tuple[str, tuple[Endpoint, ...], str]:
    """What two texts of one witness have in common, as far as no name is looked up."""
    endpoints = sorted((Endpoint(host=_same_host(each.host), port=each.port) for each in url.endpoints), key=str)
    path = posixpath.normpath(url.path) if url.kind == "exec" else url.path.rstrip("/")
    return url.kind, tuple(endpoints), path


def hosts(url: Url) -> frozenset[str]:
    """Its hosts, each in the one form of its address or name."""
    return frozenset(_same_host(each.host) for each in url.endpoints)


def loopback(url: Url) -> str | None:
    """A host that is always the machine which asks, as far as no name is looked up; None: there is none."""
    return next((each.host for each in url.endpoints if _is_loopback(_same_host(each.host))), None)


def _same_host(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().removesuffix(".")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def parse(text: str) -> Url:
    """ValueError: one sentence for an operator, with the remedy."""
    kind, separator, rest = text.partition("://")
    if kind == "https":
        raise ValueError(
            f'"{text}": failoverd has no TLS; expected "http://…", or "exec:///PATH" with a program that asks by https'
        )
    if not separator or kind not in _FORMS:
        every = ", ".join(form for form, _ in _FORMS.values())
        raise ValueError(f'"{text}" is not the URL of a witness; expected one of {every}')
    if not text.isascii() or not text.isprintable() or " " in text:
        raise _wrong(text, kind, "has a character that a URL cannot have")
    return _PARSERS[kind](text, rest)


def _wrong(text: str, kind: str, problem: str) -> ValueError:
    form, example = _FORMS[kind]
    return ValueError(f'"{text}" {problem}; expected "{form}", such as "{example}"')


def _tcp(text: str, rest: str) -> Url:
    return Url(kind="tcp", endpoints=(_endpoint(text, "tcp", rest),), path="")


def _icmp(text: str, rest: str) -> Url:
    return Url(kind="icmp", endpoints=(_endpoint(text, "icmp", rest, without=True),), path="")


def _http(text: str, rest: str) -> Url:
    place, slash, path = rest.partition("/")
    if "#" in path:
        raise _wrong(text, "http", "has a fragment, which no server receives")
    return Url(
        kind="http", endpoints=(_endpoint(text, "http", place, default=_HTTP_PORT),), path=f"{slash or '/'}{path}"
    )


def _etcd(text: str, rest: str) -> Url:
    places, slash, prefix = rest.partition("/")
    endpoints = tuple(_endpoint(text, "etcd", place) for place in places.split(","))
    return Url(kind="etcd", endpoints=endpoints, path=f"{slash}{prefix}".rstrip("/") or _ETCD_PREFIX)


def _exec(text: str, rest: str) -> Url:
    if not rest.startswith("/") or rest.endswith("/"):
        raise _wrong(text, "exec", "is not the absolute path of a program")
    return Url(kind="exec", endpoints=(), path=rest)


_PARSERS: dict[str, Callable[[str, str], Url]] = {
    "tcp": _tcp,
    "icmp": _icmp,
    "http": _http,
    "etcd": _etcd,
    "exec": _exec,
}


def _endpoint(text: str, kind: str, place: str, *, default: int | None = None, without: bool = False) -> Endpoint:
    """Parse HOST:PORT. `default`: the port where `place` has none; None: it is required. `without`: it has none."""
    host, port = _split(text, kind, place)
    if (problem := _host_problem(host, bracketed=place.startswith("["))) is not None:
        raise _wrong(text, kind, problem)
    if without:
        if port is not None:
            raise _wrong(text, kind, "has a port, which ICMP has not")
        return Endpoint(host=host, port=0)
    if port is None:
        if default is None:
            raise _wrong(text, kind, "has no port")
        return Endpoint(host=host, port=default)
    number = int(port) if port.isdigit() and len(port) <= len(str(_PORTS)) else 0
    if not 0 < number < _PORTS:
        raise _wrong(text, kind, f'has no port from 1 to {_PORTS - 1} after "{host}:"')
    return Endpoint(host=host, port=number)


def _split(text: str, kind: str, place: str) -> tuple[str, str | None]:
    """The host without its brackets, and what follows its colon; None: there is no colon."""
    if "@" in place:
        raise _wrong(text, kind, "has a user, which no witness takes")
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _wrong(text, kind, "has a bracket too few, or something after it")
        return host, rest[1:] if rest else None
    host, colon, port = place.partition(":")
    if ":" in port:
        raise _wrong(text, kind, "has several colons: an IPv6 address needs brackets, as in [2001:db8::1]")
    return host, port if colon else None


def _host_problem(host: str, *, bracketed: bool) -> str | None:
    if not host:
        return "has no host"
    try:
        address = ipaddress.IPv6Address(host) if bracketed else ipaddress.IPv4Address(host)
    except ValueError:
        return f'has brackets around "{host}", which is not an IPv6 address' if bracketed else _name_problem(host)
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        return f'has the host "{host}", which is not the address of one station'
    return None


def _name_problem(host: str) -> str | None:
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return f'has the host "{host}", which is not an IPv4 address'
    if len(host) > _NAME_MAX_BYTES or not all(map(_LABEL.fullmatch, labels)):
        return f'has the host "{host}", which is neither an address nor a name'
    return None
