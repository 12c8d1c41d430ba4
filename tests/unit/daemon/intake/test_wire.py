"""What hooks and the FIFO write, in pieces of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd.daemon.intake.wire import MAX_LINE_BYTES, Framer, HookReport, Report, parse_fifo, parse_hook

BOOT = "a394ac16-02a8-4d06-964b-9d8708faa4f5"

LONG = st.integers(MAX_LINE_BYTES - 2, MAX_LINE_BYTES + 2).map(lambda length: b"x" * length)
LINES = st.lists(st.one_of(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), LONG), max_size=8)


@given(LINES, st.binary(max_size=20), st.lists(st.integers(1, 6_000), max_size=60))
def test_lines_are_the_same_whatever_the_read_sizes(lines: list[bytes], rest: bytes, sizes: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b"")
    framer = Framer()
    framed: list[bytes] = []
    for size in sizes:
        framed += framer.feed(data[:size])
        data = data[size:]
    framed += framer.feed(data)
    assert framed == [line for line in lines if len(line) < MAX_LINE_BYTES]
    assert framer.overlong == sum(len(line) >= MAX_LINE_BYTES for line in lines)


def test_a_line_without_end_takes_no_memory() -> None:
    framer = Framer()
    for _ in range(1_000):
        assert framer.feed(b"x" * 4_000) == []
        assert len(framer._partial) < MAX_LINE_BYTES
    assert framer.overlong == 1
    assert framer.feed(b"x\nGROUP\n") == [b"GROUP"]


@pytest.mark.parametrize(
    ("line", "report"),
    [
        (b'INSTANCE "VI_1" MASTER 150', Report("INSTANCE", "VI_1", "MASTER", 150)),
        (b'GROUP "G.1 x" BACKUP 0', Report("GROUP", "G.1 x", "BACKUP", 0)),
        (b'INSTANCE "a" b" FAULT 1', Report("INSTANCE", 'a" b', "FAULT", 1)),
        (b'INSTANCE "VI_1" MASTER_RX_LOWER_PRI 150', Report("INSTANCE", "VI_1", "MASTER_RX_LOWER_PRI", 150)),
        (b'INSTANCE "VI_1" DELETED', Report("INSTANCE", "VI_1", "DELETED", None)),
        ('INSTANCE "grün" STOP 0'.encode(), Report("INSTANCE", "grün", "STOP", 0)),
        (b'INSTANCE "\xff" STOP 0', Report("INSTANCE", "\\xff", "STOP", 0)),
    ],
)
def test_fifo_lines(line: bytes, report: Report) -> None:
    assert parse_fifo(line) == report


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"INSTANCE VI_1 MASTER 150",
        b'INSTANCE "" MASTER 150',
        b'INSTANCE "VI_1" master 150',
        b'VS "VI_1" MASTER 150',
        b'INSTANCE "VI\t1" MASTER 150',
        b'INSTANCE "VI_1" MASTER 150\0',
    ],
)
def test_what_is_no_fifo_line(line: bytes) -> None:
    assert parse_fifo(line) is None


def test_a_hooks_line() -> None:
    line = f"1\t{BOOT}\t295415\t14308\tINSTANCE\tVI 1\tMASTER\t150".encode()
    assert parse_hook(line) == HookReport(Report("INSTANCE", "VI 1", "MASTER", 150), BOOT, 295415, 14308)
    assert parse_hook(line[:-3]) == HookReport(Report("INSTANCE", "VI 1", "MASTER", None), BOOT, 295415, 14308)
    for wrong in (b"2" + line[1:], line + b"\t", line[:-4], line.replace(b"VI 1", b""), b""):
        assert parse_hook(wrong) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    parse_fifo(data)
    parse_hook(data)
