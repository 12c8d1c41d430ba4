"""The arrows that must never be, read from the imports themselves."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Collection
from pathlib import Path

import pytest

from failoverd import drivers

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "failoverd").rglob("*.py"))

#: For each room, the rooms that it must not know.
FORBIDDEN = {
    "log": {"core", "osutil", "ports", "drivers", "daemon", "doctor", "ctl", "records", "trouble", "alarms"},
    "core": {"osutil", "ports", "drivers", "daemon", "doctor", "ctl", "log", "records", "trouble", "alarms"},
    "osutil": {"core", "ports", "drivers", "daemon", "doctor", "ctl", "log", "records", "trouble", "alarms"},
    "ports": {"drivers", "daemon", "doctor", "ctl", "alarms"},
    "drivers": {"daemon", "doctor", "ctl", "alarms"},
    "daemon": {"doctor", "ctl"},
    "doctor": {"ctl", "log", "records", "trouble", "alarms"},
    "ctl": {"core", "osutil", "ports", "drivers", "daemon", "records", "trouble", "alarms"},
}
DRIVERS = {each.name for each in pkgutil.iter_modules([str(ROOT / "failoverd/drivers")])}
ROOMS = {file.relative_to(ROOT / "failoverd").parts[0] for file in MODULES if file.parent != ROOT / "failoverd"}
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
    "shlex",  # of which only quote() is used, a function of text
}
#: Foreign libraries, and the one module that imports each.
LIBRARIES = {
    "pydbus": "failoverd/ports/dbus.py",
    "gi": "failoverd/ports/dbus.py",
    "structlog": "failoverd/log/__init__.py",
    "jsonschema": "failoverd/daemon/config/schema.py",
    "rich": "failoverd/ctl/page_rich.py",
    "argcomplete": "failoverd/ctl/completion.py",
    "systemd.daemon": "failoverd/ports/sd_notify.py",
    "systemd.journal": None,  # it waits for journald with Python's lock held
    "subprocess": "failoverd/ctl/peers.py",  # the daemon starts processes in ports/spawn.py
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
    assert room(root / "failoverd/records.py", root) == "records.py"


def test_every_room_has_its_arrows() -> None:
    assert set(FORBIDDEN) == ROOMS


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_no_room_knows_what_it_must_not(file: Path) -> None:
    for imported in imports(file):
        parts = imported.split(".")
        if parts[0] == "failoverd" and len(parts) > 1:
            assert parts[1] not in FORBIDDEN.get(room(file), set()), f"{name(file)} imports {imported}"


@pytest.mark.parametrize("file", [m for m in MODULES if room(m) == "doctor"], ids=name)
def test_the_doctor_shares_with_the_daemon_only_what_is_configured(file: Path) -> None:
    for imported in imports(file):
        if imported.startswith("failoverd.daemon."):
            assert imported.split(".")[2] in {"config", "access"}, imported


def takes_from(file: Path, package: str, modules: Collection[str]) -> bool:
    """Whether it imports something of the package itself, and not only modules that are in it."""
    return any(each.rpartition(".")[0] == package and each not in modules for each in imports(file))


def test_no_module_imports_itself_by_another() -> None:
    """Also not for its types only."""
    known = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in MODULES}
    later: dict[str, set[str]] = {}
    for module, file in known.items():
        named = imports(file) & known.keys()
        packages = {each.rpartition(".")[0] for each in named}  # of a module that is imported from its package
        later[module] = (named - packages) | {each for each in named & packages if takes_from(file, each, known)}
    while free := {module for module, others in later.items() if not others & later.keys()} or (
        later.keys() - set[str]().union(*later.values())
    ):
        later = {module: others for module, others in later.items() if module not in free}
    circles = {module: sorted(others & later.keys()) for module, others in later.items()}
    assert not circles


@pytest.mark.parametrize("file", [m for m in MODULES if room(m) in {"core", "command_text.py"}], ids=name)
def test_the_core_is_pure(file: Path) -> None:
    for imported in imports(file):
        own = imported.startswith(("failoverd.core", "failoverd.command_text")) or imported == "failoverd"
        assert own or imported.split(".")[0] in PURE, imported


@pytest.mark.parametrize("file", [m for m in MODULES if room(m) == "drivers"], ids=name)
def test_no_driver_knows_another(file: Path) -> None:
    own = file.relative_to(ROOT / "failoverd/drivers").parts[0].removesuffix(".py")
    known = {i.split(".")[2] for i in imports(file) if i.startswith("failoverd.drivers.")}
    assert not known & DRIVERS - {own}


def test_every_driver_is_found_by_its_name() -> None:
    assert set(drivers.names()) == DRIVERS
    for each in DRIVERS:
        assert drivers.find(each).options


def test_the_name_of_an_error_means_one_thing() -> None:
    bases = {"Exception", "LookupError", "ValueError", "DriverError"}
    errors: dict[str, list[str]] = {}
    for file in (module for module in MODULES if room(module) in {"ports", "drivers"}):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & bases:
                errors.setdefault(node.name, []).append(name(file))
    assert errors["DriverError"] == ["failoverd/ports/errors.py"]
    assert {error: files for error, files in errors.items() if len(files) > 1} == {}


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_a_foreign_library_has_one_port(file: Path) -> None:
    for imported in imports(file):
        parts = imported.split(".")
        for library in (parts[0], ".".join(parts[:2])):
            if library in LIBRARIES:
                assert name(file) == LIBRARIES[library], f"{name(file)} imports {imported}"


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_processes_are_started_in_one_place(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if name(file) != "failoverd/ports/spawn.py":
        for call in ("posix_spawn", "os.system", "os.fork", "create_subprocess"):
            assert call not in text, f"{name(file)} starts a process"


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_drbd_is_read_and_told_by_its_own_rooms_only(file: Path) -> None:
    if "drbd" not in file.relative_to(ROOT).parts:
        words = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert words.isdisjoint({"drbdsetup", "drbdadm"})


def test_every_module_says_why_it_exists() -> None:
    for file in MODULES:
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), name(file)


@pytest.mark.parametrize("file", MODULES, ids=name)
def test_nothing_waits_in_a_thread_that_the_end_waits_for(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for call in ("to_thread(", "run_in_executor(", "ThreadPoolExecutor"):
        assert call not in text, f"{name(file)}: use failoverd.osutil.threads"
