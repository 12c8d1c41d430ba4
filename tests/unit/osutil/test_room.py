"""Whether a file could be written is known without writing one."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from failoverd.osutil import room
from tests.unit import full


@pytest.fixture(params=["a file without a name", "the figures of the file system"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two ways in which it is found out: some file systems have no O_TMPFILE."""
    if request.param == "the figures of the file system":
        unpatched = os.open

        def without(path: str, flags: int, *rest: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return unpatched(path, flags, *rest)

        monkeypatch.setattr(os, "open", without)


@pytest.mark.usefixtures("way")
def test_full_and_read_only_and_well_again(tmp_path: Path) -> None:
    with full.tmpfs(tmp_path / "small") as small:
        room.check(str(small), 4096)
        with pytest.raises(OSError, match="No space left"):
            room.check(str(small), 2 * full.SIZE)
        filler = full.fill(small)
        with pytest.raises(OSError, match="No space left"):
            room.check(str(small), 1)
        filler.unlink()
        full.read_only(small)
        with pytest.raises(OSError, match="Read-only"):
            room.check(str(small), 1)
        full.read_only(small, is_so=False)
        room.check(str(small), 4096)
        assert list(small.iterdir()) == []


def test_a_remedy_can_be_pasted(tmp_path: Path) -> None:
    missing = tmp_path / "it is missing"
    with pytest.raises(FileNotFoundError) as raised:
        room.check(str(missing), 1)
    assert room.remedy(missing, raised.value) == f"create its directory: mkdir -p '{missing}'"
    assert room.remedy("/run", OSError(errno.ENOSPC, "")) == "see: findmnt -o TARGET,OPTIONS,SIZE,AVAIL -T /run"
