"""`python -m tests.fresh SUITE...`: on a fresh Debian of each suite, `make demo` and `make quick`.

Each is a directory with mounts, processes and cgroups of its own (machine.sh); what changes there is in memory, and
gone afterwards. Kept below .cache are the bare Debian, and what apt and pip have downloaded for it.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.lab.run import end_as_by_ctrl_c, new_run, remove_dead_runs
from tests.package import chroot

_ROOT = Path(__file__).parents[2]
_CACHE = _ROOT / ".cache" / "fresh"
_MACHINE = Path(__file__).with_name("machine.sh")
_NAMESPACES = ("--mount", "--pid", "--cgroup", "--ipc", "--uts")
_SECONDS = 1500.0
#: Each Debian's Python.
_PYTHON = {"bookworm": "3.11", "trixie": "3.13"}


def main() -> int:
    """The exit status: 0 when all went well on all of them."""
    end_as_by_ctrl_c()
    remove_dead_runs()
    return max(_try(suite) for suite in sys.argv[1:] or _PYTHON)


def _try(suite: str) -> int:
    print(f"── a fresh Debian: {suite} ──", flush=True)
    debs, wheels = _CACHE / f"debs-{suite}", _CACHE / f"wheels-{suite}"
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    _fetch(wheels, _PYTHON[suite])
    base = chroot.base(suite, ["make"], what_for="fresh")
    run = new_run()
    run.make()
    try:
        tree = run.work / "tree.tar"
        _pack(tree)
        machine = ["sh", str(_MACHINE), str(base), str(tree), str(debs), str(wheels)]
        namespaces = ["unshare", *_NAMESPACES, "--fork", "--kill-child"]
        argv = run.in_cgroup([*namespaces, *machine])
        code = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False, timeout=_SECONDS).returncode
    finally:
        run.remove()
    print(f"── {suite}: {'all is well' if code == 0 else f'FAILED, exit {code}'} ──", flush=True)
    return code


def _fetch(wheels: Path, python: str) -> None:
    """Download what pip would install there, in whatever ways this machine's pip is configured."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for_that = ["--dest", str(wheels), "--only-binary", ":all:", "--python-version", python]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", *for_that]
    subprocess.run([*pip, *project["optional-dependencies"]["dev"]], check=True, timeout=600)


def _pack(tree: Path) -> None:
    """Pack what a clone would have; beside that, what is changed and new here."""
    listing = ["git", "-C", str(_ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, timeout=60).stdout
    # A file that was removed here and not yet there is no failure.
    tar = ["tar", "-C", str(_ROOT), "--create", "--file", str(tree), "--null", "--ignore-failed-read"]
    subprocess.run([*tar, "--files-from=-"], input=names, check=True, timeout=60)


if __name__ == "__main__":
    sys.exit(main())
