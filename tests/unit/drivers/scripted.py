"""Programs that say what a test scripted, and fail on everything else; and how to wait for what a driver notices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from failoverd.drivers import Watch

# `%s`: what may set $script, for the command line in $line and $key. It is told only once its script is known: what a
# test scripts after it saw the call is for the next one.
_PROGRAM = r"""#!/bin/sh
cd "${0%%/*}/said" || exit 98
set -- "${0##*/}" "$@"
line="$*"
key=$(printf %%s "$line" | tr ' /' '__')
script=
%s
if [ -z "$script" ]; then
    set -- "$key".*.sh
    script=$(cat "$1" 2>/dev/null) || script='echo "nobody expected: $line" >&2; exit 99'
    [ $# -eq 1 ] || rm "$1"
fi
echo "$line" >>../told
eval "$script"
"""


class Programs:
    """Programs in `directory`. What each says is scripted for its command line; the last of several answers stays."""

    def __init__(self, directory: Path, *names: str, before: str) -> None:
        self.directory = directory
        self._said = directory / "said"
        self._said.mkdir(parents=True)
        self._number = 0
        for name in names:
            (directory / name).write_text(_PROGRAM % before)
            (directory / name).chmod(0o755)

    def script(self, command: str, script: str) -> None:
        """Have it run `script`."""
        self._write(_key(command), script)

    def _write(self, key: str, script: str) -> None:
        self._number += 1
        draft = self._said / "draft"
        draft.write_text(script)
        draft.rename(self._said / f"{key}.{self._number:04}.sh")

    def forget(self, command: str) -> None:
        """What was scripted for it is no more."""
        for answer in self._said.glob(f"{_key(command)}.*.sh"):
            answer.unlink()

    def rescript(self, command: str, script: str) -> None:
        """Have it run `script` instead. Whoever runs it meanwhile finds one of the two."""
        before = list(self._said.glob(f"{_key(command)}.*.sh"))
        self._write(_key(command), script)
        for answer in before:
            answer.unlink(missing_ok=True)

    @property
    def told(self) -> list[str]:
        """The command lines that they were given, in order."""
        path = self.directory / "told"
        return path.read_text().splitlines() if path.exists() else []


def _key(command: str) -> str:
    return command.replace(" ", "_").replace("/", "_")


async def until(true: Callable[[], object]) -> None:
    """Wait for it. TimeoutError when it does not come."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[list[str | None]]:
    """The subjects that a driver's watch told to have changed; it goes on until the end."""
    changed: list[str | None] = []
    task = asyncio.ensure_future(watch(changed.append))
    try:
        yield changed
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
