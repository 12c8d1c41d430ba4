"""The record of other MASTERs lasts until an operator acknowledges them."""

from dataclasses import replace
from pathlib import Path

from failoverd.core.model import Removed, Rival, State
from failoverd.core.spec import Config
from failoverd.daemon.persistence import rivals
from failoverd.records import records

RIVAL = Rival(since=1.0, until=2.0, gave_way=True)


def test_the_record_has_also_what_is_not_configured_now(tmp_path: Path) -> None:
    records.move(tmp_path)
    rivals.remember(State(config=Config(), instances={}, removed={"VI_1": Removed(rivals=(RIVAL,)), "VI_2": Removed()}))
    assert rivals.recall() == {"VI_1": (RIVAL,)}


def test_the_record_has_the_node_that_said_it(tmp_path: Path) -> None:
    records.move(tmp_path)
    found = replace(RIVAL, gave_way=False, peer="right")
    rivals.remember(State(config=Config(), instances={}, removed={"VI_1": Removed(rivals=(found,))}))
    assert rivals.recall() == {"VI_1": (found,)}


def test_the_record_has_the_station(tmp_path: Path) -> None:
    records.move(tmp_path)
    found = replace(RIVAL, gave_way=False, station="02:00:00:00:00:02", address="192.0.2.1")
    rivals.remember(State(config=Config(), instances={}, removed={"VI_1": Removed(rivals=(found,))}))
    assert rivals.recall() == {"VI_1": (found,)}


def test_a_record_of_an_earlier_failoverd_has_neither_station_nor_node(tmp_path: Path) -> None:
    records.move(tmp_path)
    records.write("rivals", {"told": {"VI_1": [{"since": 1.0, "until": 2.0, "gave_way": True}]}})
    assert rivals.recall() == {"VI_1": (RIVAL,)}
