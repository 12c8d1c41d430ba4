"""The version, everywhere it is written, and the script that sets it."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path

import pytest

from failoverd import __version__

ROOT = Path(__file__).parents[3]
WRITTEN = ("failoverd/__init__.py", "packaging/debian/changelog", "CHANGELOG.md", "README.md")
NEEDED = (*WRITTEN, "packaging/debian/control", "packaging/release.py")
MAINTAINER = "failoverd maintainers <maintainers@failoverd.example>"


class Repository:
    """A copy of the files that the script needs, committed."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        for name in NEEDED:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
        self.git("init", "--quiet")
        self.commit()

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        identity = {f"GIT_{role}_{word}": "tester" for role in ("AUTHOR", "COMMITTER") for word in ("NAME", "EMAIL")}
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(self.tree.parent), "PYTHONDONTWRITEBYTECODE": "1", **identity}
        return subprocess.run(argv, env=clean, capture_output=True, text=True, timeout=60, check=False, cwd="/")

    def git(self, *words: str) -> str:
        done = self.run("git", "-C", self.tree, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "All of it")

    def release(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.tree / "packaging" / "release.py", *words)

    def set(self, version: str) -> str:
        """Set and commit the version; the output of the script."""
        done = self.release(version)
        assert (done.returncode, done.stderr) == (0, "")
        assert self.git("status", "--porcelain")
        self.commit()
        return done.stdout

    def refusal(self, *words: str) -> str:
        """The message of a refusal, which has changed nothing."""
        before = self.git("status", "--porcelain")
        done = self.release(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert self.git("status", "--porcelain") == before
        return done.stderr

    def text(self, name: str) -> str:
        return (self.tree / name).read_text(encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with a development version."""
    copy = Repository(tmp_path / "failoverd")
    if ".dev" not in __version__:
        copy.set("1000.0.0.dev0")
    return copy


def versions(tree: Path) -> set[str]:
    """The versions of all places, in the form of the code."""
    texts = {name: (tree / name).read_text(encoding="utf-8") for name in WRITTEN}
    debian = re.match(r"failoverd \((\S+)\) (\S+);", texts["packaging/debian/changelog"])
    heading = re.search(r"^## (\S+)", texts["CHANGELOG.md"], re.MULTILINE)
    (code,) = re.findall(r'^__version__ = "(.*)"$', texts["failoverd/__init__.py"], re.MULTILINE)
    assert debian
    assert heading
    assert debian[2] == ("UNRELEASED" if "~" in debian[1] else "unstable")
    in_changelog = code if heading[1] == "Unreleased" and ".dev" in code else heading[1]
    in_readme = re.findall(r"^  failoverd (\S+); events:", texts["README.md"], re.MULTILINE)
    return {code, debian[1].replace("~", "."), in_changelog, *in_readme}


def entries(debian_changelog: str) -> list[str]:
    return re.findall(r"^failoverd \((\S+)\)", debian_changelog, re.MULTILINE)


def test_all_places_agree() -> None:
    assert versions(ROOT) == {__version__}


def test_a_release_and_the_next_development_version(repository: Repository) -> None:
    before = {name: repository.text(name) for name in WRITTEN}
    said = repository.set("1000.2.0")
    assert versions(repository.tree) == {"1000.2.0"}
    assert "## Unreleased" not in repository.text("CHANGELOG.md")
    assert re.search(r"^## 1000\.2\.0 - \d{4}-\d\d-\d\d$", repository.text("CHANGELOG.md"), re.MULTILINE)
    assert len(entries(repository.text("packaging/debian/changelog"))) == len(
        entries(before["packaging/debian/changelog"])
    )
    assert "git tag --annotate v1000.2.0" in said
    assert "packaging/release.py 1000.3.0.dev0" in said

    said = repository.set("1000.3.0.dev0")
    assert versions(repository.tree) == {"1000.3.0.dev0"}
    first, second = re.findall(r"^## .*$", repository.text("CHANGELOG.md"), re.MULTILINE)[:2]
    assert first == "## Unreleased"
    assert second.startswith("## 1000.2.0 - ")
    assert entries(repository.text("packaging/debian/changelog"))[:2] == ["1000.3.0~dev0", "1000.2.0"]
    assert "git tag" not in said

    repository.set("1000.3.0")
    assert entries(repository.text("packaging/debian/changelog"))[:2] == ["1000.3.0", "1000.2.0"]


def test_nothing_but_the_version_changes(repository: Repository) -> None:
    before = {name: repository.text(name).splitlines() for name in WRITTEN}
    repository.set("1000.2.0")
    for name, lines in before.items():
        after = repository.text(name).splitlines()
        changed = [new for old, new in zip(lines, after, strict=True) if old != new]
        assert changed
        assert all("1000.2.0" in line or line.startswith(f" -- {MAINTAINER}  ") for line in changed), name


def test_the_debian_changelog_has_the_maintainer_and_the_moment(repository: Repository) -> None:
    repository.set("1000.2.0")
    trailer = re.search(r"^ -- (.*>)  (.*)$", repository.text("packaging/debian/changelog"), re.MULTILINE)
    assert trailer
    assert trailer[1] == MAINTAINER
    assert timedelta(0) <= datetime.now(UTC) - parsedate_to_datetime(trailer[2]) < timedelta(hours=1)


def test_for_dpkg_a_development_version_precedes_its_release(repository: Repository) -> None:
    order = []
    for version in ("1000.2.0.dev0", "1000.2.0.dev1", "1000.2.0", "1000.2.1.dev0"):
        if version != __version__:
            repository.set(version)
        order.append(entries(repository.text("packaging/debian/changelog"))[0])
    for earlier, later in pairwise(order):
        assert repository.run("dpkg", "--compare-versions", earlier, "lt", later).returncode == 0, (earlier, later)


@pytest.mark.parametrize("version", ["", "1000", "1000.2", "v1000.2.0", "1000.02.0", "1000.2.0~dev0", "1000.2.0rc1"])
def test_a_word_that_is_not_a_version_is_refused(repository: Repository, version: str) -> None:
    assert f"{version!r} is not a version" in repository.refusal(version)


def test_a_version_that_is_not_later_is_refused(repository: Repository) -> None:
    repository.set("1000.2.0.dev1")
    for version in ("0.0.1", "999.9.9", "1000.1.99", "1000.2.0.dev0", "1000.2.0.dev1"):
        expected = f"{version} is not later than the current version, 1000.2.0.dev1"
        assert expected in repository.refusal(version)
    repository.set("1000.2.0")
    assert "not later than the current version, 1000.2.0" in repository.refusal("1000.2.0")
    assert "not later" in repository.refusal("1000.2.0.dev2")


def test_a_release_upon_a_release_is_refused(repository: Repository) -> None:
    repository.set("1000.2.0")
    assert "begin 1000.2.1.dev0 first" in repository.refusal("1000.2.1")


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new.txt"])
def test_a_tree_with_changes_is_refused(repository: Repository, name: str) -> None:
    with (repository.tree / name).open("a", encoding="utf-8") as file:
        file.write("more\n")
    said = repository.refusal("1000.2.0")
    assert "not everything is committed" in said
    assert name in said


def test_a_place_that_cannot_be_found_is_refused(repository: Repository) -> None:
    readme = repository.tree / "README.md"
    readme.write_text("# failoverd\n", encoding="utf-8")
    repository.commit()
    assert "README.md: found nothing" in repository.refusal("1000.2.0")


def test_a_copy_without_git_is_refused(repository: Repository) -> None:
    shutil.rmtree(repository.tree / ".git")
    done = repository.release("1000.2.0")
    assert done.returncode == 1
    assert "cannot tell whether all is committed" in done.stderr


def test_help_describes_the_version(repository: Repository) -> None:
    done = repository.release("--help")
    assert done.returncode == 0
    assert "X.Y.Z.devN" in done.stdout
