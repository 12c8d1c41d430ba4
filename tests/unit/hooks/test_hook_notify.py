"""The real hook, run as keepalived runs it."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit import full

HOOK = Path(__file__).parents[3] / "hooks" / "notify"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
CHANGE = ("INSTANCE", "VI_1", "MASTER", "150")


def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([HOOK, *words], env={}, **{**quiet, **options})


def end(hook: subprocess.Popen[bytes]) -> int:
    """How it ended. What goes wrong is said, and nothing else."""
    out, err = hook.communicate(timeout=30)
    assert not out, out
    assert bool(err) is (hook.returncode != 0), err
    return hook.returncode


def run(*words: str, **options: Any) -> int:
    return end(start(*words, **options))


def spooled(runtime: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((runtime / "spool").iterdir())]


def fields(line: bytes) -> list[str]:
    assert line.endswith(b"\n")
    return line[:-1].decode().split("\t")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path


@pytest.fixture
def listener(runtime: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(runtime / "notify.sock"))
        listening.listen(64)
        listening.settimeout(30)
        yield listening


def test_it_compiles() -> None:
    subprocess.run(["/usr/bin/perl", "-Tc", HOOK], check=True, capture_output=True, timeout=30)


def test_it_loads_no_module_and_starts_nothing() -> None:
    text = HOOK.read_text(encoding="utf-8")
    for word in ("use ", "require ", "system ", "system(", "exec ", "fork", "`", "qx", "warn", "die "):
        assert not any(word in line for line in text.splitlines() if not line.lstrip().startswith("#")), word
    assert max(map(len, text.splitlines())) <= 120


def test_it_hands_over_its_start_time_and_pid(runtime: Path, listener: socket.socket) -> None:
    hook = start("--runtime-dir", str(runtime), *CHANGE)
    connection, _ = listener.accept()
    with connection:
        line = connection.recv(4096)
        stat = Path(f"/proc/{hook.pid}/stat").read_text(encoding="utf-8")
        ticks = stat.rpartition(")")[2].split()[19]
        connection.sendall(b"ok\n")
    assert end(hook) == 0
    assert fields(line) == ["1", BOOT, ticks, str(hook.pid), *CHANGE]
    assert spooled(runtime) == []


def test_a_command_name_with_spaces_and_parentheses(tmp_path: Path, runtime: Path) -> None:
    odd = tmp_path / "a) S (b c"
    odd.symlink_to(HOOK)
    hook = subprocess.Popen([odd, "--runtime-dir", str(runtime), *CHANGE])
    assert hook.wait(timeout=30) == 0
    (line,) = spooled(runtime)
    assert fields(line)[3] == str(hook.pid)
    assert (
        abs(int(fields(line)[2]) / os.sysconf("SC_CLK_TCK") - float(Path("/proc/uptime").read_text().split()[0])) < 60
    )


def test_without_priority_the_last_field_is_empty(runtime: Path) -> None:
    assert run("--runtime-dir", str(runtime), "GROUP", "G 1.x", "STOP") == 0
    (line,) = spooled(runtime)
    assert fields(line)[4:] == ["GROUP", "G 1.x", "STOP", ""]


@pytest.mark.parametrize("name", ["VI 1", "a.b", 'quo"ted', "it's", "back\\slash", "$(x)`y`", "grün", "-n", "*"])
def test_names_arrive_as_they_are(runtime: Path, name: str) -> None:
    assert run("--runtime-dir", str(runtime), "INSTANCE", name, "BACKUP", "100") == 0
    (line,) = spooled(runtime)
    assert fields(line)[5] == name


def test_no_socket(runtime: Path) -> None:
    assert run("--runtime-dir", str(runtime), *CHANGE) == 0
    assert len(spooled(runtime)) == 1


def test_a_dead_daemons_socket(runtime: Path, listener: socket.socket) -> None:
    listener.close()
    assert run("--runtime-dir", str(runtime), *CHANGE) == 0
    assert len(spooled(runtime)) == 1


def test_no_acknowledgement_leaves_the_same_line_in_the_spool(runtime: Path, listener: socket.socket) -> None:
    assert run("--runtime-dir", str(runtime), *CHANGE) == 0
    connection, _ = listener.accept()
    with connection:
        assert spooled(runtime) == [connection.recv(4096)]


@pytest.mark.parametrize("answer", [b"", b"no\n", b"\0" * 100])
def test_another_answer_is_no_acknowledgement(runtime: Path, listener: socket.socket, answer: bytes) -> None:
    hook = start("--runtime-dir", str(runtime), *CHANGE)
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)
    assert end(hook) == 0
    assert len(spooled(runtime)) == 1


def test_a_full_backlog(runtime: Path, listener: socket.socket) -> None:
    listener.listen(0)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(runtime / "notify.sock"))
        assert run("--runtime-dir", str(runtime), *CHANGE) == 0
    assert len(spooled(runtime)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE])
def test_signals_do_not_stop_it(runtime: Path, listener: socket.socket, number: int) -> None:
    hook = start("--runtime-dir", str(runtime), *CHANGE)
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        hook.send_signal(number)
        connection.sendall(b"ok\n")
    assert end(hook) == 0
    assert spooled(runtime) == []


def test_many_at_once_never_clash(runtime: Path) -> None:
    hooks = [start("--runtime-dir", str(runtime), *CHANGE) for _ in range(60)]
    assert [end(hook) for hook in hooks] == [0] * 60
    lines = spooled(runtime)
    assert {fields(line)[3] for line in lines} == {str(hook.pid) for hook in hooks}


def test_as_keepalived_has_it(runtime: Path) -> None:
    hook = start("--runtime-dir", str(runtime), *CHANGE, cwd="/", umask=0o177, process_group=0)
    assert end(hook) == 0
    (path,) = (runtime / "spool").iterdir()
    # Readable without privileges over the user that keepalived runs scripts as.
    assert path.stat().st_mode & 0o777 == 0o644


def test_closed_standard_streams(runtime: Path, listener: socket.socket) -> None:
    closed = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", HOOK, "--runtime-dir", str(runtime), *CHANGE]
    )
    connection, _ = listener.accept()
    with connection:
        assert fields(connection.recv(4096))[4:] == list(CHANGE)
        connection.sendall(b"ok\n")
    assert closed.wait(timeout=30) == 0
    assert spooled(runtime) == []


@pytest.mark.parametrize(
    "environment",
    [
        {"PERL_UNICODE": "D"},
        {"PERL_UNICODE": "SDAL"},
        {"PERL_UNICODE": "63", "LC_ALL": "C.UTF-8"},
        {"PERL5OPT": "-CSDA"},
        {"PERL5OPT": "-Mstrict -w"},
        {"PERL5OPT": "-Mno_such_module"},
        {"PERL5OPT": "-d"},
        {"PERL5OPT": "-t"},
        {"PERL5LIB": "/nonexistent"},
        {"PERL5DB": "die"},
        {"PERLIO": ":utf8"},
        {"PERLIO": ":crlf"},
        {"PERLIO": ":no_such_layer"},
        {"PERL_BADLANG": "0", "LC_ALL": "xx_YY.UTF-8", "LANGUAGE": "xx"},
        {"PATH": "", "IFS": "x", "ENV": "/nonexistent", "TZ": "nowhere"},
    ],
    ids=lambda each: " ".join(f"{name}={value}" for name, value in each.items()),
)
def test_no_environment_keeps_it_from_telling(
    runtime: Path, listener: socket.socket, environment: dict[str, str]
) -> None:
    words = ("INSTANCE", "VI grün", "MASTER", "150")
    hook = subprocess.Popen([HOOK, "--runtime-dir", str(runtime), *words], env=environment, stderr=subprocess.PIPE)
    connection, _ = listener.accept()
    with connection:
        assert fields(connection.recv(4096))[4:] == list(words)
        connection.sendall(b"no\n")
    assert end(hook) == 0
    assert [fields(line)[4:] for line in spooled(runtime)] == [list(words)]


class Elsewhere:
    """A /dev of the hook's own: with the system's log, and with the other file system that it may spool into."""

    def __init__(self, directory: Path, runtime: Path) -> None:
        self.dev = directory / "dev"
        self.dev.mkdir()
        (self.dev / "null").touch()
        self.second = self.dev / "shm" / f"failoverd{str(runtime).replace('/', '-')}"
        self.log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.log.bind(str(self.dev / "log"))
        self.log.settimeout(30)

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        within = 'mount --bind "$0" /dev && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", within, str(self.dev), str(HOOK), *words]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False)

    def said(self) -> str:
        return self.log.recv(4096).decode()


@pytest.fixture
def elsewhere(tmp_path: Path, runtime: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path, runtime)
    yield made
    made.log.close()


def test_where_the_spool_is_full_there_is_a_second_one(runtime: Path, elsewhere: Elsewhere) -> None:
    elsewhere.second.mkdir(parents=True)
    with full.tmpfs(runtime / "spool") as spool:
        full.fill(spool)
        done = elsewhere.run("--runtime-dir", str(runtime), *CHANGE)
        assert [path.name for path in spool.iterdir()] == ["filler"]
    assert done.returncode == 0
    (path,) = elsewhere.second.iterdir()
    assert fields(path.read_bytes())[4:] == list(CHANGE)
    told = f"cannot write {runtime}/spool (No space left on device); spooled INSTANCE VI_1 MASTER in "
    told += f"/dev/shm/{path.parent.name}"
    assert done.stderr.decode() == f"failoverd's hook: {told}\n"
    assert re.fullmatch(r"<27>failoverd-notify\[\d+\]: " + re.escape(told), elsewhere.said())


def test_a_link_is_no_second_spool(runtime: Path, elsewhere: Elsewhere, tmp_path: Path) -> None:
    (runtime / "spool").rmdir()
    elsewhere.second.parent.mkdir()
    (tmp_path / "target").mkdir()
    elsewhere.second.symlink_to(tmp_path / "target")
    assert elsewhere.run("--runtime-dir", str(runtime), *CHANGE).returncode == 75
    assert not list((tmp_path / "target").iterdir())


def test_a_lost_event_is_logged(runtime: Path, elsewhere: Elsewhere) -> None:
    (runtime / "spool").rmdir()
    done = elsewhere.run("--runtime-dir", str(runtime), *CHANGE)
    assert done.returncode == 75
    assert (
        elsewhere.said()
        .partition(": ")[2]
        .startswith("event lost: INSTANCE VI_1 MASTER 150: failoverd does not answer; cannot write")
    )


def test_invalid_arguments_are_logged_and_reported(
    runtime: Path, elsewhere: Elsewhere, listener: socket.socket
) -> None:
    words = ("--runtime-dir", str(runtime), "INSTANCE", "VI\t1\n", "master", "150", "five")
    done = elsewhere.run(*words)
    assert done.returncode == 64
    assert b"INSTANCE VI?1? master 150 five; expected [--runtime-dir DIR] INSTANCE|GROUP NAME STATE" in done.stderr
    assert "invalid arguments" in elsewhere.said()
    connection, _ = listener.accept()
    with connection:
        line = connection.recv(4096)
    assert re.fullmatch(rb"!\t\d+\t--runtime-dir \S+ INSTANCE VI\?1\? master 150 five\n", line)
    assert spooled(runtime) == [line]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_shown_and_not_handed_over(elsewhere: Elsewhere, option: str) -> None:
    done = elsewhere.run(option)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"INSTANCE|GROUP NAME STATE [PRIORITY]" in done.stdout
    elsewhere.log.setblocking(False)
    with pytest.raises(BlockingIOError):
        elsewhere.said()


def test_neither_way_works(tmp_path: Path) -> None:
    assert run("--runtime-dir", str(tmp_path), *CHANGE) == 75
    assert run("--runtime-dir", str(tmp_path / "absent"), *CHANGE) == 75
    (tmp_path / "spool").write_text("not a directory")
    assert run("--runtime-dir", str(tmp_path), *CHANGE) == 75


def test_a_spool_that_cannot_be_written(runtime: Path) -> None:
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # noqa: E731 (a thread-free preexec)
    assert run("--runtime-dir", str(runtime), *CHANGE, preexec_fn=limit) == 75
    assert spooled(runtime) == []


def test_a_path_too_long_for_a_socket_still_has_a_spool(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    (deep / "spool").mkdir(parents=True)
    assert run("--runtime-dir", str(deep), *CHANGE) == 0
    assert len(spooled(deep)) == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("INSTANCE",),
        ("INSTANCE", "VI_1"),
        ("instance", "VI_1", "MASTER"),
        ("INSTANCE", "", "MASTER"),
        ("INSTANCE", "VI\t1", "MASTER"),
        ("INSTANCE", "VI_1\n", "MASTER"),
        ("INSTANCE", "V" * 1025, "MASTER"),
        ("INSTANCE", "VI_1", "master"),
        ("INSTANCE", "VI_1", ""),
        ("INSTANCE", "VI_1", "MASTER", "high"),
        ("INSTANCE", "VI_1", "MASTER", "150", "more"),
        ("INSTANCE\n", "VI_1", "MASTER"),
    ],
)
def test_invalid_arguments(runtime: Path, words: tuple[str, ...]) -> None:
    assert run("--runtime-dir", str(runtime), *words) == 64
    assert [line.startswith(b"!\t") for line in spooled(runtime)] == [True]


def test_a_runtime_directory_is_a_word_of_its_own() -> None:
    assert run("--runtime-dir") == 64
    assert run("--runtime-dir", "", *CHANGE) == 64
