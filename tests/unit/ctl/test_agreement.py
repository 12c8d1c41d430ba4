"""What doctor finds about the other nodes."""

from __future__ import annotations

import json
from pathlib import Path

from failoverd.ctl import agreement

FILE = Path("/etc/failoverd/failoverd.toml")


def says(digest: str) -> list[str]:
    return ["sh", "-c", f"echo '{json.dumps({'digest': digest})}'"]


def test_nodes_that_agree_are_no_finding() -> None:
    assert agreement.examine({"right": says("4f1a"), "center": says("4f1a")}, "4f1a", FILE) == []
    assert agreement.examine({}, "4f1a", FILE) == []


def test_a_node_that_cannot_be_asked() -> None:
    (found,) = agreement.examine(
        {"right": ["sh", "-c", "echo 'Host key verification failed.' >&2; exit 255"]}, "", FILE
    )
    assert (found.code, found.about) == ("peer-unreachable", "right")
    assert found.wrong == "failoverctl cannot be run there: Host key verification failed."
    assert found.fix.endswith("failoverctl status --json")


def test_a_node_with_another_configuration() -> None:
    (found,) = agreement.examine({"right": says("77aa"), "center": says("4f1a")}, "4f1a", FILE)
    assert (found.code, found.about) == ("configuration-differs", "right")
    assert "cat /etc/failoverd/failoverd.toml | diff /etc/failoverd/failoverd.toml -" in found.fix


def test_an_address_is_asked_by_ssh() -> None:
    (found,) = agreement.examine({"right": "127.0.0.1.invalid"}, "4f1a", FILE)
    assert found.fix.startswith("ssh -T -o BatchMode=yes")
