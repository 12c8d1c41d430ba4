"""The process that reads, writes or renames one file of the state directory; ``state_file.py`` starts it.

``python3 -m failoverd.daemon.persistence.process read|write|rename FILE [NEW]``. It must import little: an operator
waits for it, and so does the first start of a boot.
"""

from __future__ import annotations

import sys
from pathlib import Path

from failoverd.osutil import atomic_file


def main(verb: str, file: str, new: str = "") -> int:
    """Do it here, and return 0 or the number of the error."""
    try:
        if verb == "read":
            sys.stdout.buffer.write(atomic_file.read(file))
        elif verb == "rename":
            Path(file).replace(new)
        else:
            Path(file).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            atomic_file.write_durably(file, sys.stdin.buffer.read())
    except OSError as error:
        return error.errno or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
