"""The page of ``failoverctl doctor``, and its exit statuses."""

import os
from pathlib import Path

import pytest

from failoverd.ctl import __main__ as ctl
from failoverd.ctl.page import plain
from failoverd.ctl.verbs.doctor import page
from failoverd.doctor import Finding

FOUND = [
    Finding(
        code="keepalived-preempts",
        about="VI_1",
        wrong="failoverd.toml says `preempt = false`, and VI_1 has no `nopreempt`",
        why="failoverd would record an ordinary preemption as a double MASTER.",
        where="/etc/keepalived/keepalived.conf:44",
        fix="    nopreempt",
    ),
    Finding(
        code="units-enabled",
        about="VI_1.web",
        wrong="the unit is enabled",
        why="It matters.",
        fix="systemctl disable web.service",
    ),
]
PAGE = """\
! VI_1: failoverd.toml says `preempt = false`, and VI_1 has no `nopreempt`
  failoverd would record an ordinary preemption as a double MASTER.
  in /etc/keepalived/keepalived.conf:44:
          nopreempt

! VI_1.web: the unit is enabled
  It matters.
  run:
      systemctl disable web.service
"""


def test_each_finding_says_what_is_wrong_why_and_what_to_change() -> None:
    assert plain(page(FOUND)) == PAGE


def test_only_root_may_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ctl.main(["doctor"]) == os.EX_NOPERM
    assert capsys.readouterr().err == (
        "failoverctl: doctor reads files that only root may read\n  use: sudo failoverctl doctor\n"
    )


def test_a_configuration_with_errors_is_reported_as_by_config_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    file = tmp_path / "failoverd.toml"
    file.write_text("[instanze.VI_1]\n")
    assert ctl.main(["doctor", str(file)]) == os.EX_CONFIG
    assert capsys.readouterr().err.startswith(f"{file}: instanze: unknown key; did you mean")
