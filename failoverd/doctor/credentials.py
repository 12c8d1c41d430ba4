"""The credentials of failoverd.service: no file is missing, none is open to other users, and each secret is there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from failoverd.daemon.config import fence
from failoverd.doctor import systemd
from failoverd.doctor.finding import Finding
from failoverd.doctor.site import Site
from failoverd.doctor.systemd import Credential
from failoverd.osutil import threads
from failoverd.ports import fence as agents

_RELOAD, _RESTART = "systemctl daemon-reload", "systemctl restart failoverd"
_DROP_INS = "/etc/systemd/system/failoverd.service.d"


async def look(site: Site) -> list[Finding]:
    """All findings about credentials. Raises DriverError if systemd does not answer."""
    given = await systemd.credentials()
    return await threads.run(lambda: [*_files(given), *_secrets(site, given)])


def _files(given: dict[str, Credential]) -> Iterator[Finding]:
    for name, credential in given.items():
        file = credential.path or _stored(name, credential)
        if credential.path is not None and not file.exists():
            yield Finding(
                code="credential-file",
                about="failoverd.service",
                wrong=f"{file} is missing, which LoadCredential={name}:{file} names",
                why="systemd does not start failoverd without it (243/CREDENTIALS): nothing here follows the VIP.",
                fix=f"{_written(file, name, credential)} && {_RESTART}",
            )
        elif not credential.encrypted and _is_open(file):
            yield Finding(
                code="credential-open",
                about="failoverd.service",
                wrong=f"other users may read {file}, which has the credential {name}",
                why="It is a secret.",
                fix=f"chmod 600 {shlex.quote(str(file))}",
            )


def _secrets(site: Site, given: dict[str, Credential]) -> Iterator[Finding]:
    configuration = site.configuration
    for node, fenced in fence.others(configuration.core.fences, configuration.node).items():
        for name, unusable in agents.lacking(fenced).items():
            if (credential := given.get(name)) and credential.path and not credential.path.exists():
                continue
            yield Finding(
                code="credential-missing",
                about=f"fence.{node}",
                wrong=unusable.wrong,
                why=f"failoverd could not fence {node}, and nothing would be activated here when {node} is silent.",
                fix="\n".join(_steps(name, credential, unusable)),
            )


def _steps(name: str, credential: Credential | None, unusable: agents.CredentialUnusable) -> Iterator[str]:
    """The commands that are left to do. The last one asks for the secret, and must have the terminal for itself."""
    if credential is None:
        yield f"mkdir -p {_DROP_INS}"
        yield f"printf '[Service]\\nLoadCredential={name}\\n' >>{_DROP_INS}/fence.conf"
        yield _RELOAD
        credential = Credential(path=None, encrypted=False)
    file = credential.path or _stored(name, credential)
    if file.exists() and isinstance(unusable.__cause__, FileNotFoundError):
        yield _RESTART
        return
    if credential.path is None:
        yield f"install -d -m 700 {file.parent}"
    yield f"{_written(file, name, credential)} && {_RESTART}"


def _stored(name: str, credential: Credential) -> Path:
    return (agents.STORE.with_suffix(".encrypted") if credential.encrypted else agents.STORE) / name


def _written(file: Path, name: str, credential: Credential) -> str:
    """The command that asks for a secret and writes it into its file."""
    quoted = shlex.quote(str(file))
    if credential.encrypted:
        return f"systemd-ask-password -n {name}: | systemd-creds encrypt --name={name} - {quoted}"
    return f"(umask 077; systemd-ask-password {name}: >{quoted})"


def _is_open(file: Path) -> bool:
    """Whether others than root may read it. Whoever may not enter its directory may not."""
    try:
        return bool(file.stat().st_mode & 0o077 and file.parent.stat().st_mode & 0o011)
    except OSError:
        return False
