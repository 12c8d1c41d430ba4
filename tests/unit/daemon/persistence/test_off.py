"""The record of the nodes that are known to be off."""

from pathlib import Path

from failoverd.core.knowledge import Off
from failoverd.daemon.persistence import off
from failoverd.records import records

LEFT = Off(at=12.5, said="fence_ipmilan: status 2")


def test_the_next_daemon_knows_who_is_off(tmp_path: Path) -> None:
    records.move(tmp_path)
    assert off.recall() == {}
    off.remember({"left": LEFT})
    assert off.recall() == {"left": LEFT}
    off.remember({})
    assert off.recall() == {}


def test_a_damaged_record_proves_nothing(tmp_path: Path) -> None:
    records.move(tmp_path)
    records.write("off", {"nodes": {"left": {"at": "yesterday", "said": "status 2"}}})
    assert off.recall() == {}
