"""Completion as a person has it: real shells on a terminal, the scripts where a package puts them."""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from failoverd.ctl import completion, verbs
from tests.unit.ctl.conftest import FakeDaemon

Status = Callable[..., dict[str, Any]]

#: Where a package puts what `python3 -m failoverd.ctl.completion` prints, below /usr/share.
PLACES = {
    "bash": "bash-completion/completions/failoverctl",
    "zsh": "zsh/vendor-completions/_failoverctl",
    "fish": "fish/vendor_completions.d/failoverctl.fish",
}
PROMPT = "READY> "


class Line:
    """What is typed into an interactive shell, and what it shows."""

    def __init__(self, argv: list[str], environment: dict[str, str], folder: Path) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, environment)  # noqa: S606
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, pattern: str) -> str:
        """All that is shown up to `pattern`, which must come within half a minute."""
        deadline = time.monotonic() + 30
        while (found := re.search(pattern, self.shown, re.DOTALL)) is None:
            ready = select.select([self._terminal], [], [], deadline - time.monotonic())[0]
            assert ready, f"no {pattern!r} in {self.shown!r}"
            self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x07|\x00", "", os.read(self._terminal, 4096).decode())
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A /usr/share with the completions, and a ``bin`` beside it with failoverctl."""
    usr = tmp_path_factory.mktemp("usr")
    for shell, place in PLACES.items():
        file = usr / "share" / place
        file.parent.mkdir(parents=True)
        printed = [sys.executable, "-m", "failoverd.ctl.completion", shell]
        file.write_bytes(subprocess.run(printed, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout)
    program = usr / "bin" / "failoverctl"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom failoverd.ctl.__main__ import main\nsys.exit(main())\n")
    program.chmod(0o755)
    return usr / "share"


@pytest.fixture
def environment(share: Path, tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PYTHONPATH", "LANG", "COVERAGE_PROCESS_CONFIG")}
    path = f"{share.parent / 'bin'}:/usr/bin:/bin"
    return kept | {"PATH": path, "HOME": str(tmp_path), "TERM": "vt100", "XDG_DATA_DIRS": f"{share}:/usr/share"}


@pytest.fixture(params=["bash", "zsh"])
def line(request: pytest.FixtureRequest, share: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[Line]:
    """An interactive shell that has read what Debian's own start files read."""
    if request.param == "bash":
        start = f"""\
            PS1='{PROMPT}'
            bind 'set enable-bracketed-paste off'
            bind 'set show-all-if-ambiguous on'
            . /usr/share/bash-completion/bash_completion
        """
        (tmp_path / "start").write_text(start)
        argv = ["bash", "--noprofile", "--rcfile", str(tmp_path / "start"), "-i"]
    else:
        start = f"""\
            fpath=({(share / PLACES["zsh"]).parent} $fpath)
            autoload -Uz compinit; compinit -u -D
            PS1='{PROMPT}'
            unset zle_bracketed_paste
            setopt no_auto_menu
        """
        (tmp_path / ".zshrc").write_text(start)
        argv = ["zsh", "-d", "-i"]
    made = Line(argv, environment, tmp_path)
    made.until(PROMPT)
    yield made
    made.close()


def fish(environment: dict[str, str], folder: Path, line: str) -> dict[str, str]:
    """What fish offers at the end of `line`, with what it says of each."""
    asked = ["fish", "-c", f"complete -C {line!r}"]
    done = subprocess.run(
        asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, cwd=folder, check=True
    )
    return {word: told for word, _, told in (row.partition("\t") for row in done.stdout.splitlines())}


def test_a_whole_command_is_typed_with_the_tab_key(line: Line, daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    line.type(f"failoverctl --socket {daemon.path} pl\t")
    line.until("plan ")
    line.type("V\t")
    line.until("VI_1 ")
    line.type("m\t")
    line.until("master ")
    line.type("\r")
    line.until(PROMPT)
    asked = [(each["verb"], each.get("instance"), each.get("target")) for each in daemon.asked]
    assert asked[0] == ("status", None, None)
    assert asked[-1] == ("plan", "VI_1", "active")


def test_verbs_and_options_are_offered(line: Line) -> None:
    line.type("failoverctl \t")
    line.until(r"\A(?=.*status)(?=.*history)(?=.*plan).*config")
    line.type("status --j\t")
    line.until("--json ")


def test_a_transition_is_offered_by_its_number(line: Line, daemon: FakeDaemon, transition: dict[str, Any]) -> None:
    daemon.answers({"transitions": [transition]})
    line.type(f"failoverctl --socket={daemon.path} history show 1\t")
    line.until("show 118 ")


@pytest.mark.parametrize("before", ["--socket absent plan ", "plan VI_1 master ", "history -n ", "history show "])
def test_nothing_is_offered_where_nothing_is_known(line: Line, tmp_path: Path, before: str) -> None:
    (tmp_path / "only").touch()
    line.type(f"failoverctl {before}\tend")
    assert "only" not in line.until("end")


def test_files_are_offered_for_a_check(line: Line, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "left side.toml").touch()
    line.type("failoverctl config check co\t")
    line.until("conf.d/")
    line.type("le\t")
    line.until(r"left\\ side.toml ")


def test_what_was_typed_is_never_run(line: Line, tmp_path: Path) -> None:
    (tmp_path / "known.toml").touch()
    line.type("failoverctl config check \"x'; touch ran; '\t\x15failoverctl config check kno\t")
    line.until("known.toml ")
    assert not (tmp_path / "ran").exists()


def test_fish_is_told_what_each_thing_is(
    environment: dict[str, str], tmp_path: Path, daemon: FakeDaemon, status: Status
) -> None:
    daemon.answers(status())
    at = f"failoverctl --socket {daemon.path}"
    offered = fish(environment, tmp_path, f"{at} ")
    declared = verbs.declared()
    assert set(offered) == {name.split()[0] for name in declared}
    assert offered["status"] == declared["status"].summary
    assert "--json" in fish(environment, tmp_path, f"{at} status --")
    assert list(fish(environment, tmp_path, f"{at} plan ")) == ["VI_1"]
    assert list(fish(environment, tmp_path, f"{at} reset ")) == ["VI_1"]
    assert list(fish(environment, tmp_path, f"{at} accept VI_1 ")) == ["prefix", "web"]
    assert list(fish(environment, tmp_path, f"{at} plan VI_1 ")) == ["backup", "master"]


def test_fish_offers_transitions_and_files(
    environment: dict[str, str], tmp_path: Path, daemon: FakeDaemon, transition: dict[str, Any]
) -> None:
    daemon.answers({"transitions": [transition]})
    (tmp_path / "new.toml").touch()
    (tmp_path / "conf.d").mkdir()
    for name in ("left.toml", ".draft"):
        (tmp_path / "conf.d" / name).touch()
    assert list(fish(environment, tmp_path, f"failoverctl --socket {daemon.path} history show ")) == ["118"]
    assert list(fish(environment, tmp_path, "failoverctl config check n")) == ["new.toml"]
    assert list(fish(environment, tmp_path, "failoverctl config check ~/n")) == ["~/new.toml"]
    assert list(fish(environment, tmp_path, "failoverctl config check conf.d/")) == ["conf.d/left.toml"]
    assert list(fish(environment, tmp_path, "failoverctl config check conf.d/.")) == ["conf.d/.draft"]


def test_a_daemon_that_says_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "REPLY_TIMEOUT_S", 0.01)
    path = str(tmp_path / "silent.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(path)
        silent.listen(2)
        asked = argparse.Namespace(socket=path)
        assert completion.instances(asked) == completion.transitions(asked) == {}


def test_names_come_with_what_they_are(daemon: FakeDaemon, status: Status, transition: dict[str, Any]) -> None:
    asked = argparse.Namespace(socket=str(daemon.path))
    daemon.answers(status())
    assert completion.instances(asked) == {"VI_1": "active"}
    daemon.answers({"transitions": [transition]})
    assert completion.transitions(asked) == {"118": "VI_1 to active: failed"}


def test_argcomplete_is_imported_by_no_normal_start(daemon: FakeDaemon, status: Status) -> None:
    daemon.answers(status())
    program = "main(sys.argv[1:]); sys.exit('argcomplete' in sys.modules)"
    assert run(program, "--socket", str(daemon.path), "status").returncode == 0


def test_without_argcomplete_nothing_is_offered_and_nothing_done(daemon: FakeDaemon) -> None:
    program = "sys.modules['argcomplete'] = None; sys.exit(main(sys.argv[1:]))"
    done = run(program, "--socket", str(daemon.path), "status", _ARGCOMPLETE="1")
    assert (done.returncode, done.stdout, done.stderr, daemon.asked) == (1, "", "", [])


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`program` with failoverctl's ``main`` at hand."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; from failoverd.ctl.__main__ import main; {program}", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
