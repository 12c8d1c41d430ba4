"""``failoverctl history show``: one transition, ready to be pasted, and as an HTML page."""

from __future__ import annotations

import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from failoverd.ctl import output_file, timeline, timeline_html
from failoverd.ctl.output_file import FileError
from tests.unit.ctl.conftest import FakeDaemon
from tests.unit.ctl.test_failoverctl import at as run
from tests.unit.ctl.transitions import EVIL, at, partial, step, wait
from tests.unit.ctl.verbs.pages import NOW, shown

Answer = dict[str, Any]


def test_one_transition_with_its_steps(transition: Answer) -> None:
    assert shown("history show", transition) == (
        "! transition 118: VI_1 to active: failed\n"
        "  cause    MASTER by fifo\n"
        "! reason   web did not start\n"
        "  started  2026-11-21 03:11:57 (3 min ago)\n"
        "  ended    2026-11-21 03:12:00 (took 3.33 s)\n"
        "  path     prefix > web (the critical path)\n"
        "\n"
        "           0 s               0.83 s            1.67 s            2.5 s       3.33 s\n"
        "  * prefix #####                                                                     0.24 s  done\n"
        "  * web         ###################################################################  3.08 s  running\n"
        "      # critical path\n"
        "\n"
        "  after    resource  verb      outcome  took    detail\n"
        "  +2 ms    prefix    activate  done     0.24 s  failover_metric = 100\n"
        "      birdc configure check\n"
        "      birdc configure confirm\n"
        "  +0.24 s  web       activate  running  -\n"
    )


@pytest.mark.parametrize("waited", [None, 0.001])
def test_one_without_steps_has_no_timeline(waited: float | None) -> None:
    waits = [] if waited is None else [wait("web", "vip", 0, waited)]
    told = {"id": 1, "started": at(0), "ended": at(0.002), "outcome": "active", "waits": waits}
    *_, ended, steps = shown("history show", told).splitlines()
    assert (ended.partition(" (")[2], steps) == ("took 2 ms)", "  steps    none")


def test_one_that_only_waited_shows_the_wait_and_no_table() -> None:
    told = {"id": 1, "started": at(0), "ended": at(2), "outcome": "overtaken", "waits": [wait("web", "vip", 0, 2)]}
    text = shown("history show", told)
    assert "  steps    none\n" in text
    assert text.endswith("  no step\n      waiting for:  v the VIP\n")


class Parsed(HTMLParser):
    """The tags of a page, which must be balanced, its texts, and the values of its attributes."""

    VOID = ("meta", "line", "rect", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def html(told: Answer) -> str:
    return timeline_html.page(told, timeline.timeline(told, NOW), NOW)


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    text = html(partial())
    page = Parsed(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form", "use"} & set(page.tags)
    assert not re.search(r"url\((?!#wait\))|@import|https?:|//", text.partition("</style>")[0])
    assert not [value for value in page.values if "://" in value or value.startswith("javascript")]


def test_the_page_has_each_step_with_its_commands_and_output() -> None:
    page = Parsed(html(partial()))
    assert page.tags.count("details") == 8
    told = "".join(page.texts)
    for text in ("xl create /etc/xen/web.cfg\nxl list -v", "running, domain 14", "2.03 s for web-disk", "17.4 s"):
        assert text in told


def test_the_page_of_a_short_transition_is_in_milliseconds() -> None:
    page = Parsed(html(partial() | {"steps": [step("web", 0.002, 0.018)], "waits": [], "ended": at(0.018)}))
    told = {"0 ms", "5 ms", "10 ms", "15 ms", "16 ms", "18 ms"}
    assert told <= set(page.texts)
    assert "Began after 2 ms." in "".join(page.texts)
    assert not [text for text in (*page.texts, *page.values) if re.search(r"\d s\b", text)]


def test_what_tools_and_users_wrote_is_text() -> None:
    text = html(partial())
    page = Parsed(text)
    told = "".join(page.texts)
    assert EVIL.replace("\x1b", "\\x1b") in told
    assert "echo '</pre><script>alert(1)</script>'" in told
    assert "\x1b" not in text
    evil = dict.fromkeys(("instance", "target", "cause", "reason", "outcome", "id"), "\"'><script>x</script>")
    assert "script" not in Parsed(html(partial() | evil)).tags


@pytest.mark.parametrize("changed", [{"steps": [], "waits": []}, {"ended": None, "outcome": None}])
def test_a_page_of_an_unusual_transition(changed: Answer) -> None:
    assert Parsed(html(partial() | changed)).tags.count("h1") == 1


def test_the_page_is_written_and_its_name_is_shown(daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.answers(partial())
    file = tmp_path / "118.html"
    done = run(daemon, "history", "show", "118", "--html", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"  {file}: written\n", "")
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert list(tmp_path.glob(".*")) == []


def test_html_and_json_exclude_each_other(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = run(daemon, "history", "show", "118", "--json", "--html", str(tmp_path / "x"))
    assert done.returncode == 64
    assert "--html and --json exclude each other" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "is a directory"),
        ("absent/", "is a directory"),
        ("absent/x.html", "No such file or directory"),
        ("fifo", "is not a regular file"),
        ("loop", "cannot write|not a regular file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_an_error_with_its_reason(tmp_path: Path, name: str, said: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileError, match=said) as caught:
        output_file.write(f"{tmp_path}/{name}", "page")
    assert caught.value.status == 74
    assert "--html" in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_is_replaced_as_a_whole_and_a_link_stays(tmp_path: Path) -> None:
    old, link = tmp_path / "old", tmp_path / "link"
    old.write_text("old")
    link.symlink_to(old)
    inode = old.stat().st_ino
    umask = os.umask(0o027)
    try:
        output_file.write(str(link), "new \udcff")
    finally:
        os.umask(umask)
    assert (link.is_symlink(), old.read_text()) == (True, "new \\udcff")
    assert old.stat().st_ino != inode
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
