"""What the package is: built the same everywhere, and made as Debian wants it."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from failoverd import __version__

from .conftest import ROOT, Package, build

PROMISED = {
    "/etc/failoverd/conf.d": "drwxr-xr-x",
    "/etc/failoverd/failoverd.toml": "-rw-r--r--",
    "/usr/bin/failoverctl": "-rwxr-xr-x",
    "/usr/lib/systemd/catalog/failoverd.catalog": "-rw-r--r--",
    "/usr/lib/systemd/system/drbd@.service.d/failoverd.conf": "-rw-r--r--",
    "/usr/lib/systemd/system/failoverd.service": "-rw-r--r--",
    "/usr/lib/systemd/system/failoverd.socket": "-rw-r--r--",
    "/usr/lib/sysusers.d/failoverd.conf": "-rw-r--r--",
    "/usr/lib/tmpfiles.d/failoverd.conf": "-rw-r--r--",
    "/usr/libexec/failoverd/fence-peer": "-rwxr-xr-x",
    "/usr/libexec/failoverd/notify": "-rwxr-xr-x",
    "/usr/sbin/failoverd": "-rwxr-xr-x",
    "/usr/share/bash-completion/completions/failoverctl": "-rw-r--r--",
    "/usr/share/doc/failoverd/examples/hosting/failoverd.toml": "-rw-r--r--",
    "/usr/share/fish/vendor_completions.d/failoverctl.fish": "-rw-r--r--",
    "/usr/share/man/man5/failoverd.toml.5.gz": "-rw-r--r--",
    "/usr/share/man/man8/failoverctl.8.gz": "-rw-r--r--",
    "/usr/share/man/man8/failoverd.8.gz": "-rw-r--r--",
    "/usr/share/zsh/vendor-completions/_failoverctl": "-rw-r--r--",
}


def test_the_same_source_gives_the_same_package(package: Package, tmp_path: Path) -> None:
    """Elsewhere, from files of another age and other permissions, in another zone, language and environment."""
    source = tmp_path / "another-checkout"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "tests", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, copy_function=shutil.copyfile, ignore=left_out)
    for folder, _, files in os.walk(source):
        for name in files:
            executable = os.access(ROOT / Path(folder).relative_to(source) / name, os.X_OK)
            (Path(folder) / name).chmod(0o700 if executable else 0o600)
    strange = {"TZ": "Asia/Kathmandu", "LC_ALL": "de_DE.UTF-8", "SOURCE_DATE_EPOCH": "1", "PYTHONPATH": str(tmp_path)}
    again = build(source, tmp_path, **strange)
    assert again.deb.read_bytes() == package.deb.read_bytes()


def test_nothing_of_a_developers_tree_gets_in(package: Package) -> None:
    inside = package.contents()
    stray = [path for path in inside if "__pycache__" in path or "/tests" in path or path.endswith((".pyc", ".orig"))]
    assert stray == []
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("failoverd/**/*.py")}
    examples = {f"/usr/share/doc/failoverd/{path.relative_to(ROOT)}" for path in ROOT.glob("examples/**/*.py")}
    packed = {path for path in inside if path.endswith(".py")} - examples
    assert {path.removeprefix("/usr/lib/python3/dist-packages/") for path in packed} == modules


def test_lintian_finds_nothing(package: Package) -> None:
    found = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", "--tag-display-limit=0", package.deb],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_its_version_is_the_programs(package: Package) -> None:
    assert package.field("Version") == __version__.replace(".dev", "~dev")
    assert package.field("Architecture") == "all"


def test_it_depends_on_the_libraries_that_the_program_names(package: Package) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    libraries = {requirement.split(">=")[0] for requirement in project["dependencies"]}
    ours = {"systemd-python": "python3-systemd"}
    assert {ours.get(each, f"python3-{each}") for each in libraries} <= set(package.depends())


@pytest.mark.parametrize(("path", "mode"), PROMISED.items())
def test_a_promised_file_is_there(package: Package, path: str, mode: str) -> None:
    assert package.contents()[path] == (mode, "root/root")


def test_every_file_is_roots_and_nobody_elses_to_write(package: Package) -> None:
    """keepalived asks this of the way to its scripts."""
    for path, (mode, owner) in package.contents().items():
        assert owner == "root/root", path
        assert mode[0] == "l" or mode[5] == mode[8] == "-", f"{path}: {mode}"
        assert "s" not in mode[1:], f"{path}: {mode}"


def test_nothing_is_where_only_an_unmerged_usr_would_have_it(package: Package) -> None:
    assert {path.split("/")[1] for path in package.contents() if path} == {"etc", "usr"}


def test_all_configuration_is_the_operators_to_keep(package: Package) -> None:
    assert package.control("conffiles").split() == ["/etc/failoverd/failoverd.toml"]
