"""Fence agents that work, lie, hang, or do something else: only `status` is a proof, and nothing of them is left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from failoverd.core.spec import Fence
from failoverd.ports import fence
from failoverd.ports.fence import agent as port
from tests.unit.fence_agents import OFF, STATUS, ScriptedAgent

WORD = "correct horse"
LONG = 60.0


def fenced(it: ScriptedAgent, options: Mapping[str, str] = {}, *, timeout: float = LONG) -> Fence:
    return Fence(agent=str(it.path), options={"type": "file", **options}, timeout=timeout)


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


async def test_a_machine_is_powered_off_and_that_is_proven(tmp_path: Path) -> None:
    it = ScriptedAgent(tmp_path)
    report = await fence.power_off(fenced(it, {"delay": "0"}))
    assert report.off
    assert report.said == (f"{it.path}: `off`: exit status 0, Success: Powered OFF; then `status` says that it is off")
    assert it.actions == ["metadata", "off", "status"]
    assert it.given == ["action=off", "type=file", "delay=0", "action=status", "type=file", "delay=0"]
    assert it.argv == [f"{it.path} "] * 2  # nothing where ps shows it


@pytest.mark.parametrize(
    ("off", "status", "said"),
    [
        ("echo 'Success: Powered OFF'", STATUS, "Success: Powered OFF; then `status` says that it is on"),
        ("echo off >$state; echo on >$state; echo 'Success: Rebooted'", STATUS, "then `status` says that it is on"),
        (OFF, "echo Status: OFF; exit 0", "then `status` says that it is on"),
        (OFF, "exit 1", "then `status`: exit status 1"),
        (OFF, "echo Status: OFF; exit 3", "then `status`: exit status 3, Status: OFF"),
        (OFF, "kill -9 $$", "then `status`: ended by SIGKILL"),
        (OFF, r"head -c 100000 /dev/urandom; printf '\nx\377\001'; exit 1", "then `status`: exit status 1, x"),
        (
            OFF,
            "echo \"WARNING:root:Parse error: Ignoring unknown option 'plg=3'\" >&2; exit 2",
            "says that it is off, and it has ignored a key",
        ),
        ("exit 2", "exit 2", "`off`: exit status 2, which no agent returns that works"),
        (
            "echo '2026-11-27 14:59:34,109 ERROR: Unable to connect/login to fencing device' >&2; echo >&2; exit 1",
            "exit 1",
            "`off`: exit status 1, Unable to connect/login to fencing device; then",
        ),
    ],
    ids=["lies", "reboots", "says-off-but-0", "fails", "another", "killed", "garbage", "ignores", "broken", "denied"],
)
async def test_without_the_proof_it_is_not_off(tmp_path: Path, off: str, status: str, said: str) -> None:
    report = await fence.power_off(fenced(ScriptedAgent(tmp_path, off=off, status=status)))
    assert not report.off
    assert said in report.said
    assert report.said.isprintable()


async def test_a_machine_that_is_off_after_all_is_off_whatever_was_said(tmp_path: Path) -> None:
    it = ScriptedAgent(tmp_path, off="echo off >$state; echo 'ERROR: Timed out waiting to power OFF' >&2; exit 1")
    assert (await fence.power_off(fenced(it))).off


async def test_an_agent_that_hangs_is_ended_and_asked_for_the_proof(tmp_path: Path) -> None:
    it = ScriptedAgent(tmp_path, off=f"echo $$ >{tmp_path}/pid; trap '' TERM; exec sleep 1000")
    report = await fence.power_off(fenced(it, timeout=1.0))
    assert not report.off
    said = "not proven to be off: `off`: timed out after 1 s, killed; then `status` says that it is on"
    assert report.said == f"{it.path}: {said}"
    if (tmp_path / "pid").exists():  # the machine may have been too slow even for the start
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_output_without_end_is_cut_off(tmp_path: Path) -> None:
    it = ScriptedAgent(tmp_path, off="exec yes")
    report = await fence.power_off(fenced(it, timeout=1.0))
    assert not report.off
    assert len(report.said) < 1000


@pytest.mark.parametrize("start", ["sleep 1000 &", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"])
async def test_nothing_that_an_agent_has_started_is_left(tmp_path: Path, start: str) -> None:
    it = ScriptedAgent(tmp_path, off=f"{start} echo $! >{tmp_path}/pid; {OFF}")
    assert (await fence.power_off(fenced(it))).off
    child = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}")
    async with asyncio.timeout(LONG):
        while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
            await asyncio.sleep(0.01)


async def test_a_proof_from_before_a_stop_of_failoverd_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter((0.0, 3600.0))
    monkeypatch.setattr(port, "_boottime", lambda: next(hours))
    report = await fence.power_off(fenced(ScriptedAgent(tmp_path)))
    assert (report.off, "says that it is off, but failoverd was stopped meanwhile" in report.said) == (False, True)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("fence_script", "did you mean fence_scripted?"), ("fence_plug", "Debian has agents in fence-agents")],
)
async def test_of_an_agent_that_is_missing_the_next_step_is_told(tmp_path: Path, name: str, hint: str) -> None:
    ScriptedAgent(tmp_path)
    (why,) = await fence.obstacles(Fence(agent=str(tmp_path / name)))
    assert f"{name}: not found; install it, or correct its path in the configuration; " in why
    assert why.endswith(hint)


async def test_a_directory_is_no_agent(tmp_path: Path) -> None:
    (why,) = await fence.obstacles(Fence(agent=str(tmp_path)))
    assert why == f"{tmp_path}: is a directory; expected the path of an agent, such as /usr/sbin/fence_ipmilan"


async def test_a_program_that_is_no_agent_is_told_with_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "fence_manual"
    program.write_text("#!/bin/sh\necho >&2 'No module named pycurl'\nexit 3\n")
    program.chmod(0o755)
    (why,) = await fence.obstacles(Fence(agent=str(program)))
    assert why == (
        f"{program}: its metadata is not XML: no element found: line 1, column 0 "
        f"(`metadata`: exit status 3, No module named pycurl); run: {program} -o metadata"
    )


async def test_an_agent_that_is_missing_has_done_nothing(tmp_path: Path) -> None:
    absent = Fence(agent=str(tmp_path / "fence_absent"))
    report = await fence.power_off(absent)
    assert (report.off, "fence_absent: not found; install it" in report.said) == (False, True)
    assert (await fence.status(absent)).on is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"plg": "3"}, "the agent has no key `plg`, and would ignore it"),
        ({"delay": "soon"}, "`delay` expects an integer, found soon"),
    ],
)
async def test_with_wrong_keys_nothing_is_done(tmp_path: Path, options: dict[str, str], said: str) -> None:
    it = ScriptedAgent(tmp_path)
    report = await fence.power_off(fenced(it, options))
    assert (report.off, it.is_on, it.actions) == (False, True, ["metadata"])
    assert said in report.said


async def test_secrets_reach_the_agent_and_nobody_else(tmp_path: Path, credentials: Path) -> None:
    (credentials / "left-bmc").write_text(f"{WORD}\n")
    leak = """echo "ERROR: login refused: $(printf %s "$given" | tr '\\n' ' ')" >&2; exit 1"""
    it = ScriptedAgent(tmp_path, off=leak, status=leak, like="fence_ipmilan")
    told = Fence(agent=str(it.path), options={"username": "root"}, secrets={"password": "left-bmc"})
    report = await fence.power_off(told)
    assert f"password={WORD}" in it.given
    for said in (report.said, (await fence.status(told)).said):
        assert "login refused: " in said
        assert "password=***" in said
        assert WORD not in said
    assert WORD not in " ".join(it.argv)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"two\nlines\naction=reboot", "is not one line of printable text"),
        (b"nul\0", "is not one line of printable text"),
        (None, "is missing"),
        (b"\xff", "is not UTF-8"),
    ],
)
async def test_without_its_secret_nothing_is_done(
    tmp_path: Path, credentials: Path, content: bytes | None, wrong: str
) -> None:
    if content is not None:
        (credentials / "left-bmc").write_bytes(content)
    it = ScriptedAgent(tmp_path, like="fence_ipmilan")
    told = Fence(agent=str(it.path), secrets={"password": "left-bmc"})
    report = await fence.power_off(told)
    assert (report.off, it.actions) == (False, ["metadata"])
    assert f"the credential left-bmc {wrong}; " in report.said
    assert report.said.endswith("systemctl restart failoverd")
    assert [each.wrong for each in fence.lacking(told).values()] == [f"the credential left-bmc {wrong}"]
    power = await fence.status(told)
    assert (power.on, "the credential left-bmc" in power.said) == (None, True)


@pytest.mark.parametrize(
    ("value", "line"), [(" both ends ", '" both ends "'), ('"quoted"', '""quoted""'), ('in"side', 'in"side')]
)
async def test_a_value_arrives_as_it_is(tmp_path: Path, value: str, line: str) -> None:
    it = ScriptedAgent(tmp_path)
    await fence.status(fenced(it, {"status_file": value}))
    assert f"status_file={line}" in it.given


@pytest.mark.parametrize(("state", "on"), [("on", True), ("off", False)])
async def test_a_question_changes_nothing(tmp_path: Path, state: str, on: bool) -> None:
    it = ScriptedAgent(tmp_path)
    (tmp_path / "state").write_text(f"{state}\n")
    power = await fence.status(fenced(it))
    assert (power.on, power.said) == (on, f"`status` says that it is {state}")
    assert it.actions == ["status"]


async def test_a_fencing_takes_no_longer_than_the_core_waits() -> None:
    known = port.METADATA_TIMEOUT_S + port.STATUS_TIMEOUT_S
    ends = 3 * 2 + 3 * port._REST_TIMEOUT_S  # of a run that does not end, and of what it has left behind
    assert Fence(agent="/usr/sbin/fence_x").worst_case >= 60 + known + ends
