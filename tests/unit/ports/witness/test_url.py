"""The URLs of witnesses: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.ports import witness
from failoverd.ports.witness.url import Endpoint, Url, parse


@pytest.mark.parametrize(
    ("text", "endpoints", "path"),
    [
        ("tcp://192.0.2.1:22", [("192.0.2.1", 22)], ""),
        ("tcp://[2001:db8::1]:65535", [("2001:db8::1", 65535)], ""),
        ("tcp://[fe80::1%eth0]:1", [("fe80::1%eth0", 1)], ""),
        ("tcp://gateway.example.net.:22", [("gateway.example.net.", 22)], ""),
        ("icmp://192.0.2.1", [("192.0.2.1", 0)], ""),
        ("icmp://[2001:db8::1]", [("2001:db8::1", 0)], ""),
        ("icmp://router-1", [("router-1", 0)], ""),
        ("http://192.0.2.1", [("192.0.2.1", 80)], "/"),
        ("http://web:8080/a/b?c=d", [("web", 8080)], "/a/b?c=d"),
        ("http://[2001:db8::1]/x", [("2001:db8::1", 80)], "/x"),
        ("etcd://192.0.2.1:2379", [("192.0.2.1", 2379)], "/failoverd"),
        ("etcd://a:1,[2001:db8::1]:2,192.0.2.3:3/", [("a", 1), ("2001:db8::1", 2), ("192.0.2.3", 3)], "/failoverd"),
        ("etcd://a:1/paris/ha", [("a", 1)], "/paris/ha"),
        ("exec:///usr/local/sbin/witness", [], "/usr/local/sbin/witness"),
    ],
)
def test_what_a_url_means(text: str, endpoints: list[tuple[str, int]], path: str) -> None:
    expected = tuple(Endpoint(host=host, port=port) for host, port in endpoints)
    assert parse(text) == Url(kind=text.partition(":")[0], endpoints=expected, path=path)
    assert witness.check(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not the URL of a witness; expected one of tcp://HOST:PORT, icmp://HOST, http://"),
        ("192.0.2.1", "is not the URL of a witness"),
        ("udp://192.0.2.1:53", "is not the URL of a witness"),
        ("TCP://192.0.2.1:53", "is not the URL of a witness"),
        ("https://192.0.2.1/", 'failoverd has no TLS; expected "http://…", or "exec:///PATH"'),
        ("tcp://192.0.2.1", 'has no port; expected "tcp://HOST:PORT", such as "tcp://192.0.2.1:22"'),
        ("tcp://:22", "has no host"),
        ("tcp://192.0.2.1:", 'has no port from 1 to 65535 after "192.0.2.1:"'),
        ("tcp://192.0.2.1:0", "has no port from 1 to 65535"),
        ("tcp://192.0.2.1:65536", "has no port from 1 to 65535"),
        ("tcp://192.0.2.1:+5", "has no port from 1 to 65535"),
        ("tcp://192.0.2.1:22/", "has no port from 1 to 65535"),
        ("tcp://192.0.2.300:22", 'has the host "192.0.2.300", which is not an IPv4 address'),
        ("tcp://192.0.2:22", "which is not an IPv4 address"),
        ("tcp://0.0.0.0:22", 'has the host "0.0.0.0", which is not the address of one station'),
        ("icmp://224.0.0.1", "which is not the address of one station"),
        ("icmp://255.255.255.255", "which is not the address of one station"),
        ("icmp://[ff02::1]", "which is not the address of one station"),
        ("icmp://[::]", "which is not the address of one station"),
        ("tcp://2001:db8::1:22", "has several colons: an IPv6 address needs brackets, as in [2001:db8::1]"),
        ("tcp://[2001:db8::1:22", "has a bracket too few"),
        ("tcp://[2001:db8::1]22", "has a bracket too few, or something after it"),
        ("tcp://[192.0.2.1]:22", 'has brackets around "192.0.2.1", which is not an IPv6 address'),
        ("tcp://a..b:22", 'has the host "a..b", which is neither an address nor a name'),
        ("tcp://-a:22", "which is neither an address nor a name"),
        (f"tcp://{'a' * 64}:22", "which is neither an address nor a name"),
        ("icmp://192.0.2.1:7", "has a port, which ICMP has not"),
        ("icmp://192.0.2.1/", "which is neither an address nor a name"),
        ("http://user:secret@192.0.2.1/", "has a user, which no witness takes"),
        ("http://192.0.2.1/a b", "has a character that a URL cannot have"),
        ("http://192.0.2.1/é", "has a character that a URL cannot have"),
        ("http://192.0.2.1/a\r\nX: y", "has a character that a URL cannot have"),
        ("http://192.0.2.1/#top", "has a fragment, which no server receives"),
        ("etcd://192.0.2.1:2379,", "has no host"),
        ("etcd://192.0.2.1:2379,192.0.2.2", "has no port"),
        ("exec://witness", 'is not the absolute path of a program; expected "exec:///ABSOLUTE/PATH"'),
        ("exec:///usr/bin/", "is not the absolute path of a program"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(text: str, problem: str) -> None:
    said = witness.check(text)
    assert said is not None
    assert said.startswith(f'"{text}"')
    assert problem in said
    assert "expected" in said
    with pytest.raises(ValueError, match="expected"):
        witness.lease(text, "left") if witness.grants_leases(text) else witness.make(text)


@given(
    st.one_of(
        st.text(), st.builds("{}://{}".format, st.sampled_from(["tcp", "icmp", "http", "etcd", "exec"]), st.text())
    )
)
def test_any_text_is_parsed_or_refused_in_one_sentence(text: str) -> None:
    said = witness.check(text)
    if said is None:
        for endpoint in parse(text).endpoints:
            assert endpoint.host
            assert 0 <= endpoint.port < 65536
    else:
        assert "expected" in said


def test_the_host_header_has_no_zone_and_no_default_port() -> None:
    assert Endpoint(host="fe80::1%eth0", port=8080).authority == "[fe80::1]:8080"
    assert Endpoint(host="web", port=80).authority == "web"


def test_what_grants_leases_is_never_asked_by_a_mere_connection() -> None:
    with pytest.raises(ValueError, match="grants leases"):
        witness.make("etcd://192.0.2.1:2379")
