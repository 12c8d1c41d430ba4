"""The arrows that must never be, read from the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "failoverd").rglob("*.py"))

#: For each room, the rooms that it must not know.
FORBIDDEN = {
    "core": {"drivers", "daemon", "ctl", "sim", "log"},
    "drivers": {"daemon", "ctl", "sim"},
    "ctl": {"drivers", "daemon", "core", "sim"},
    "daemon": {"ctl", "sim"},
}
#: What the core may take from the standard library: data types, and nothing that touches the world.
PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "typing",
    "types",
    "math",
    "itertools",
    "functools",
}
#: Foreign libraries, and the one module that imports each.
DOORS = {
    "pydbus": "failoverd/drivers/dbus.py",
    "gi": "failoverd/drivers/dbus.py",
    "structlog": "failoverd/log.py",
    "jsonschema": "failoverd/daemon/schema.py",
    "rich": "failoverd/ctl/page_rich.py",
    "argcomplete": "failoverd/ctl/completion.py",
    "systemd.daemon": "failoverd/daemon/systemd.py",
    "systemd.journal": None,  # it waits for journald with Python's lock held
    "subprocess": None,
}


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room(file: Path, root: Path = ROOT) -> str:
    """The folder of the package that it is in, or its own name; whatever folders the checkout is in."""
    return file.relative_to(root / "failoverd").parts[0]


def test_a_checkout_may_be_in_folders_that_are_called_like_rooms() -> None:
    root = Path("/srv/core/drivers")
    assert room(root / "failoverd/ctl/reset.py", root) == "ctl"
    assert room(root / "failoverd/core/machine.py", root) == "core"
    assert room(root / "failoverd/log.py", root) == "log.py"


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_no_room_knows_what_it_must_not(file: Path) -> None:
    for imported in imports(file):
        parts = imported.split(".")
        if parts[0] == "failoverd" and len(parts) > 1:
            assert parts[1] not in FORBIDDEN.get(room(file), set()), f"{name(file)} imports {imported}"


@pytest.mark.parametrize("file", [m for m in MODULES if room(m) == "core"], ids=name)
def test_the_core_is_pure(file: Path) -> None:
    for imported in imports(file):
        top = imported.split(".")[0]
        assert top in PURE or imported.startswith("failoverd.core") or imported == "failoverd", imported


@pytest.mark.parametrize("file", [m for m in MODULES if room(m) == "drivers"], ids=name)
def test_no_driver_knows_another(file: Path) -> None:
    own = file.relative_to(ROOT / "failoverd/drivers").parts[0].removesuffix(".py")
    drivers = {"bird", "drbd", "exec", "quagga", "unit", "xen"} - {own}
    known = {i.split(".")[2] for i in imports(file) if i.startswith("failoverd.drivers.")}
    assert not known & drivers


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_a_foreign_library_has_one_door(file: Path) -> None:
    for imported in imports(file):
        parts = imported.split(".")
        for library in (parts[0], ".".join(parts[:2])):
            if library in DOORS:
                assert name(file) == DOORS[library], f"{name(file)} imports {imported}"


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_processes_are_started_in_one_place(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if name(file) != "failoverd/drivers/spawn.py":
        for call in ("posix_spawn", "os.system", "os.fork", "create_subprocess"):
            assert call not in text, f"{name(file)} starts a process"


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_drbd_is_read_and_told_by_its_own_rooms_only(file: Path) -> None:
    if {"drbd", "drbdstate"}.isdisjoint(file.relative_to(ROOT).parts):
        words = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert words.isdisjoint({"drbdsetup", "drbdadm"})


def test_every_module_says_why_it_exists() -> None:
    for file in MODULES:
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), name(file)


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_nothing_waits_in_a_thread_that_the_end_waits_for(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for call in ("to_thread(", "run_in_executor(", "ThreadPoolExecutor"):
        assert call not in text, f"{name(file)}: use failoverd.threads"
