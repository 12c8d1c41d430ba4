"""The findings of a broken node, on a terminal and in README."""

from collections.abc import Callable

import pytest

from tests.unit.ctl.terminal import Terminal, golden
from tests.unit.docs.pages import ROOT

from .ward import FAILOVERCTL, Ward


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal(wards: Callable[[str], Ward], columns: int) -> None:
    node = wards("hosting")
    with (
        node.changed("keepalived.conf", "state BACKUP", "state MASTER"),
        node.changed("vpn.res", "quorum majority; ", ""),
        node.changed("/etc/xen/auto/web.cfg", "", "anything"),
    ):
        terminal = Terminal(["doctor"], columns=columns, inside=node.box.command)
        try:
            assert terminal.end() == 1
            golden(f"doctor_{columns}.txt", terminal)
        finally:
            terminal.close()


def test_readme_has_the_real_screen(wards: Callable[[str], Ward]) -> None:
    node = wards("hosting")
    with (
        node.changed("keepalived.conf", "state BACKUP", "state MASTER"),
        node.changed("/etc/xen/auto/web.cfg", "", "anything"),
    ):
        screen = node.box.run([FAILOVERCTL, "doctor"]).stdout
    assert f"```\n# failoverctl doctor\n{screen}```\n" in (ROOT / "README.md").read_text(encoding="utf-8")
