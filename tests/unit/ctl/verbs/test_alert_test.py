"""``failoverctl alert test``: did the command accept it, and how long did it take."""

from __future__ import annotations

from tests.unit.ctl.verbs.pages import shown

COMMAND = "/usr/local/bin/page 'on call'"


def test_a_test_that_was_accepted() -> None:
    assert shown("alert test", {"command": COMMAND, "seconds": 0.42}) == (
        f"  the alert command accepted the test within 0.4 s: {COMMAND}\n  now see that it arrives\n"
    )


def test_a_test_that_still_runs() -> None:
    assert shown("alert test", {"command": COMMAND, "seconds": None}) == (
        f"  the alert command still runs: {COMMAND}\n  if it fails, this has the reason: failoverctl status\n"
    )
