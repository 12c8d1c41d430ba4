"""The credentials that systemd hands to failoverd.service (systemd.exec(5), LoadCredential=)."""

from __future__ import annotations

import os
from pathlib import Path

from failoverd.ports.errors import DriverError

#: Where systemd keeps those of the service while it runs, for commands of root that are no part of it.
SERVICE_DIRECTORY = Path("/run/credentials/failoverd.service")

#: Where systemd finds those whose LoadCredential= has no path. A service starts without them, but not without a path's.
STORE = Path("/etc/credstore")

_MAX_BYTES = 4096


class CredentialUnusable(DriverError):
    """There is no such credential, or it is of no use. `wrong`: the reason without the remedy."""

    def __init__(self, wrong: str, remedy: str) -> None:
        super().__init__(f"{wrong}; {remedy}")
        self.wrong = wrong


def place(name: str) -> Path:
    """The file that has the credential `name`, if systemd has handed it over."""
    return Path(os.environ.get("CREDENTIALS_DIRECTORY") or SERVICE_DIRECTORY) / name


def expected(name: str) -> str:
    """What hands the credential `name` over, before a restart of failoverd."""
    return f"LoadCredential={name} in a drop-in of failoverd.service, and the file {STORE / name}"


def read(name: str) -> str:
    """The value of the credential `name`, without the newline at its end.

    CredentialUnusable: there is none, or it is no line of text. DriverError: this is not root, who may know.
    """
    try:
        with place(name).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except PermissionError as error:
        raise DriverError(f"the credential {name} cannot be read, except by root") from error
    except FileNotFoundError as error:
        remedy = f"expected {expected(name)}; then: systemctl daemon-reload && systemctl restart failoverd"
        raise CredentialUnusable(f"the credential {name} is missing", remedy) from error
    except OSError as error:
        wrong = f"the credential {name} cannot be read ({error.strerror})"
        raise CredentialUnusable(wrong, f"run: ls -l {place(name)}") from error
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise _unfit(name, "is not UTF-8") from error
    if not text:
        raise _unfit(name, "is empty")
    if len(content) > _MAX_BYTES or not text.isprintable():
        raise _unfit(name, "is not one line of printable text")
    return text


def _unfit(name: str, why: str) -> CredentialUnusable:
    return CredentialUnusable(f"the credential {name} {why}", "correct its file, then: systemctl restart failoverd")
