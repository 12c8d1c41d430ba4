"""How DRBD is asked, with a drbdsetup that fails on everything that it was not told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from failoverd.ports import command
from failoverd.ports.drbd import look
from failoverd.ports.errors import DriverError
from tests.unit.ports.drbd.drbdsetups import EIGHT, NINE, STATUS, FakeDrbd, eight, nine, recorded

ALL = "events2 --now"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDrbd]:
    fake = nine(tmp_path, monkeypatch)
    yield fake
    fake.end()


async def test_a_minor_is_found_among_all_and_then_asked_for_by_name(fake: FakeDrbd) -> None:
    state = NINE / "primary-on-left"
    fake.script(ALL, f"cat {state}/left.events2-now.txt")
    fake.state(state, "left")
    fake.state(state, "left", "web")
    for _ in range(2):
        assert (await look.read_minor(1)).name == "web"
        assert (await look.read_minor(0)).name == "vpn"
    assert fake.told == [ALL, "status --json web", STATUS, "status --json web", STATUS]


async def test_a_minor_of_eight(fake: FakeDrbd) -> None:
    eight(EIGHT / "primary-on-left", "right")
    for name in ("", " web"):
        fake.script(f"{ALL}{name}", f"cat {EIGHT}/primary-on-left/right.events2-now.txt")
    assert await look.read_minor(1) == recorded(EIGHT / "primary-on-left", "right", "web")


async def test_what_was_seen_by_name_need_not_be_searched_for(fake: FakeDrbd) -> None:
    fake.state(NINE / "primary-on-left", "left")
    await look.read("vpn")
    assert (await look.read_minor(0)).name == "vpn"
    assert fake.told == [STATUS, STATUS]


async def test_a_minor_that_belongs_to_another_by_now_is_searched_for(fake: FakeDrbd) -> None:
    fake.state(NINE / "all-fine", "left")
    await look.read("vpn")
    dump, status = ((NINE / f"all-fine/left.{what}").read_text() for what in ("events2-now.txt", "status.json"))
    renumbered = status.replace('"minor": 0', '"minor": 7')
    fake.forget(STATUS)
    fake.answer(STATUS, renumbered)
    fake.answer(ALL, dump.replace("minor:0", "minor:7").replace("minor:1", "minor:0").rstrip())
    fake.answer("status --json web", status.replace('"minor": 1', '"minor": 0'))
    assert (await look.read_minor(0)).name == "web"
    assert (await look.read_minor(7)).name == "vpn"
    with pytest.raises(look.NotUp, match=r"^it is not up here$"):
        await look.read_minor(1)


async def test_a_minor_whose_resource_is_down_is_not_up(fake: FakeDrbd) -> None:
    fake.state(NINE / "all-fine", "left")
    await look.read("vpn")
    fake.forget(STATUS)
    fake.transcript(STATUS, NINE / "no-resource-up/left.cmd.drbdsetup-status-json-vpn.txt")
    fake.answer(ALL, "exists -")
    with pytest.raises(look.NotUp, match=r"^it is not up here$"):
        await look.read_minor(0)


@pytest.mark.parametrize("script", ["exit 0", "head -n 3 {}", "head -c -10 {}", "cat {}; exit 20"])
async def test_a_dump_that_broke_off_proves_nothing(fake: FakeDrbd, script: str) -> None:
    fake.script(ALL, script.format(NINE / "all-fine/left.events2-now.txt"))
    with pytest.raises(DriverError) as error:
        await look.read_minor(0)
    assert not isinstance(error.value, look.NotUp)


async def test_many_minors_that_are_not_known_are_searched_for_at_once(fake: FakeDrbd) -> None:
    fake.script(ALL, f"cat {NINE}/primary-on-left/left.events2-now.txt")
    fake.state(NINE / "primary-on-left", "left")
    await asyncio.gather(*(look.read_minor(0) for _ in range(8)))
    assert fake.told.count(ALL) == 1


async def test_on_a_large_site_nothing_is_cut_off(fake: FakeDrbd, tmp_path: Path) -> None:
    """A thousand resources on three nodes: a megabyte."""
    lines = (NINE / "primary-on-left/left.events2-now.txt").read_text().splitlines()
    one = "\n".join(line for line in lines if "name:vpn" in line)
    dumps = (one.replace("name:vpn", f"name:guest{n}").replace("minor:0", f"minor:{n}") for n in range(1000))
    (tmp_path / "all").write_text("\n".join([*dumps, "exists -", ""]))
    fake.script(ALL, f"cat {tmp_path}/all")
    status = (NINE / "primary-on-left/left.status.json").read_text()
    status = status.replace('"name": "vpn"', '"name": "guest999"').replace('"minor": 0', '"minor": 999')
    fake.answer("status --json guest999", status)
    assert (await look.read_minor(999)).name == "guest999"


def test_rules_of_a_resource() -> None:
    nine = look.parse_rules((NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text())
    assert (nine.quorum, nine.two_primaries) == (True, False)
    eight = look.parse_rules((EIGHT / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text())
    assert (eight.quorum, eight.two_primaries) == (False, False)
    assert look.parse_rules("net {\n  allow-two-primaries\tyes;\n}").two_primaries
    assert not look.parse_rules("options {\n  quorum  off;\n}").quorum
    assert look.parse_rules("disk {\n\tfencing         \tresource-and-stonith;\n}").fencing
    assert not look.parse_rules("net {\n\tfencing dont-care;\n}").fencing


@pytest.mark.parametrize(
    ("quorum", "nodes", "excludes"),
    [
        ("off", 3, False),
        ("majority", 3, True),
        ("majority", 2, True),
        ("all", 3, True),
        ("1", 3, False),
        ("1", 2, False),
        ("1", 1, False),
        ("2", 2, True),
        ("2", 3, True),
        ("2", 4, False),
        ("3", 4, True),
        ("2", 5, False),
        ("0", 1, False),
        ("many", 3, False),
    ],
)
def test_a_quorum_is_one_when_two_parts_cannot_both_have_it(quorum: str, nodes: int, excludes: bool) -> None:
    shown = (NINE / "all-inconsistent/left.cmd.drbdsetup-show.txt").read_text().replace("majority", quorum)
    head, *connections = shown.split("    connection {")
    assert len(connections) == 2
    text = head + "".join(f"    connection {{{connections[0]}" for _ in range(nodes - 1))
    assert look.parse_rules(text).quorum is excludes


TRANSCRIPTS = sorted(path for version in (EIGHT, NINE) for path in version.glob("*/*.cmd.*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_a_tool_complains_of_is_one_line_for_a_person(path: Path) -> None:
    lines = path.read_text().splitlines()
    stderr = "\n".join(line[3:] for line in lines if line.startswith("2> "))
    said = look.error_line(completed(stderr))
    assert said
    assert "\n" not in said
    assert "terminated with exit code" not in said
    assert "additional info" not in said


def completed(stderr: str) -> command.Completed:
    return command.Completed(argv=("drbdsetup",), returncode=11, stdout="", stderr=stderr)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            NINE / "isolated-secondary-right/right.cmd.primary-after-timeout.txt",
            "vpn: State change failed: (-25) No quorum: 1 of 3 nodes visible, need 2 for quorum",
        ),
        (EIGHT / "outdated/right.cmd.primary.txt", "0: State change failed: (-2) Need access to UpToDate data"),
        (NINE / "no-resource-up/left.cmd.primary.txt", "vpn: Failure: (158) Unknown resource: unknown resource"),
    ],
)
def test_complaints(path: Path, words: str) -> None:
    assert look.error_line(completed("\n".join(line[3:] for line in path.read_text().splitlines()[1:-1]))) == words
