#!/usr/bin/python3
"""Set the version everywhere it is written. See "Releases" in CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

DESCRIPTION = """\
Set the version in failoverd/__init__.py, packaging/debian/changelog, CHANGELOG.md and README.md. VERSION is X.Y.Z for
a release, or X.Y.Z.devN for the development version that precedes X.Y.Z. It has to be later than the version in the
code, and everything in the repository has to be committed. Nothing is committed or tagged: the next commands are
printed.
"""
_NUMBER = "(0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:\.dev{_NUMBER})?")
_FINAL = sys.maxsize

Order = tuple[int, int, int, int]


class Refused(Exception):
    """The version cannot be set. Its text says why."""


def order(version: str) -> Order:
    """Sort key of a version: X.Y.Z.devN before X.Y.Z, as PEP 440 has it. Refused where it is not a version."""
    found = _VERSION.fullmatch(version)
    if not found:
        raise Refused(f"{version!r} is not a version: give X.Y.Z or X.Y.Z.devN, such as 1.2.0 or 1.3.0.dev0")
    major, minor, patch, development = found.groups()
    return int(major), int(minor), int(patch), _FINAL if development is None else int(development)


def in_debian(version: str) -> str:
    """Debian's form of a version.

    For dpkg, 0.2.0.dev0 and 0.2.0+dev0 are later than 0.2.0, so the release would not replace the development version.
    A tilde sorts before everything, even before the end: 0.2.0~dev0 is earlier than 0.2.0.
    """
    return version.replace(".dev", "~dev")


def is_release(version: str) -> bool:
    """Whether a version is X.Y.Z, not X.Y.Z.devN."""
    return ".dev" not in version


def code(text: str, new: str) -> str:
    """failoverd/__init__.py, from which pyproject.toml and both programs have the version."""
    return _replaced(r'^__version__ = ".*"$', f'__version__ = "{new}"', text)


def readme(text: str, new: str) -> str:
    """README.md, whose examples of `failoverctl status` show the version."""
    return _replaced(r"^  failoverd \S+; events:", f"  failoverd {new}; events:", text)


def changelog(text: str, old: str, new: str, today: datetime) -> str:
    """CHANGELOG.md: the section Unreleased becomes the release's, or is begun."""
    if is_release(new):
        return _replaced(r"^## Unreleased$", f"## {new} - {today:%Y-%m-%d}", text)
    return _replaced(rf"^(?=## {re.escape(old)} )", "## Unreleased\n\n", text) if is_release(old) else text


def debian_changelog(text: str, old: str, new: str, today: datetime, maintainer: str) -> str:
    """deb-changelog(5): the newest entry, which a development version shares with the release that follows it."""
    heading = f"failoverd ({in_debian(new)}) {'unstable' if is_release(new) else 'UNRELEASED'}; urgency=medium"
    signature = f" -- {maintainer}  {format_datetime(today)}"
    if is_release(old):
        return f"{heading}\n\n  * New version: the changes are in CHANGELOG.md.\n\n{signature}\n\n{text}"
    entry = rf"\Afailoverd \({re.escape(in_debian(old))}\) .*\n((?:(?! -- ).*\n)*) -- .*$"
    return _replaced(entry, rf"{heading}\n\g<1>{signature}", text)


def _replaced(pattern: str, replacement: str, text: str) -> str:
    changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if not count:
        raise Refused(f"found nothing like {pattern} to replace")
    return changed


def _current() -> str:
    found = re.search(r'^__version__ = "(.*)"$', (ROOT / "failoverd/__init__.py").read_text("utf-8"), re.MULTILINE)
    if not found:
        raise Refused("failoverd/__init__.py has no __version__")
    return found[1]


def _maintainer() -> str:
    found = re.search(r"^Maintainer: (.*)$", (ROOT / "packaging/debian/control").read_text("utf-8"), re.MULTILINE)
    if not found:
        raise Refused("packaging/debian/control names no Maintainer")
    return found[1]


def _check(old: str, new: str) -> None:
    if order(new) <= order(old):
        raise Refused(f"{new} is not later than the current version, {old}")
    if is_release(old) and is_release(new):
        raise Refused(f"{old} is a release: begin {new}.dev0 first, and commit it")
    status = ["git", "-C", str(ROOT), "status", "--porcelain"]
    done = subprocess.run(status, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"cannot tell whether all is committed: {done.stderr.strip()}")
    if done.stdout:
        raise Refused(f"not everything is committed:\n{done.stdout.rstrip()}")


def set_version(new: str) -> str:
    """Write `new` into every place, and return the version before it. Refused, with nothing written, on bad input."""
    order(new)
    old, today, maintainer = _current(), datetime.now(UTC), _maintainer()
    _check(old, new)
    edits: dict[str, Callable[[str], str]] = {
        "failoverd/__init__.py": lambda text: code(text, new),
        "packaging/debian/changelog": lambda text: debian_changelog(text, old, new, today, maintainer),
        "CHANGELOG.md": lambda text: changelog(text, old, new, today),
        "README.md": lambda text: readme(text, new),
    }
    written = {}
    for name, edit in edits.items():
        try:
            written[ROOT / name] = edit((ROOT / name).read_text("utf-8"))
        except Refused as refused:
            raise Refused(f"{name}: {refused}") from None
    for path, text in written.items():
        path.write_text(text, "utf-8")
    return old


def next_commands(new: str) -> str:
    """The commands that follow once `new` is written."""
    if not is_release(new):
        return f"git commit --all --message 'Begin {new}'"
    major, minor, *_ = order(new)
    return "\n".join(
        [
            "make package",
            f"git commit --all --message 'Release {new}'",
            f"git tag --annotate v{new} --message 'failoverd {new}'",
            "make deb",
            f"packaging/release.py {major}.{minor + 1}.0.dev0    # back to development",
        ]
    )


def main() -> int:
    """The exit status: 0 when the version was set, 1 when it was refused."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("version", metavar="VERSION", help="the version to set")
    new = parser.parse_args().version
    try:
        old = set_version(new)
    except Refused as refused:
        print(f"{parser.prog}: {refused}", file=sys.stderr)
        return 1
    print(f"The version was {old} and is {new}. Read `git diff`, then:\n\n{next_commands(new)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
