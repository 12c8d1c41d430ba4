"""One of the three hypervisors, as the stories see it: asked at little cost, since it is emulated."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from failoverd.ctl import client
from tests.lab.waiting import wait_for

from . import hosting
from .service import Service

#: Seconds for what takes a moment on a real machine: three emulated ones share what there is.
SOON = 240.0
_POLL = 0.3


class Hypervisor(Service):
    """One of the three."""

    poll = 1.0  # an emulated Domain-0 answers in the time that it needs for what is waited for

    @property
    def name(self) -> str:
        return self.machine.name

    def status(self) -> dict[str, Any]:
        """`failoverctl status --json`, at no cost to the machine."""
        return self._ask("status")

    def transitions(self) -> list[dict[str, Any]]:
        """`failoverctl history --json`, newest first."""
        return list(self._ask("history", n=1000)["transitions"])

    def resource(self, name: str) -> dict[str, Any]:
        """What `status` says of one resource."""
        return dict(self.instance()["resources"][name])

    def guests(self) -> set[str]:
        """Those that are here, as `xl list` says."""
        _, _domain_0, *lines = self.machine.run(["xl", "list"], within=SOON).stdout.splitlines()
        return {line.split()[0] for line in lines}

    def stop_keepalived(self) -> None:
        """Give mastership away, by hand."""
        self.machine.run(["systemctl", "stop", "keepalived.service"], within=SOON)

    def start_keepalived(self) -> None:
        self.machine.run(["systemctl", "start", "keepalived.service"], within=SOON)

    def last_steps(self) -> list[dict[str, Any]]:
        """The steps of the newest transition."""

        def newest() -> list[dict[str, Any]]:
            transition, *_ = self.transitions()
            return self.steps_of(transition["id"])

        return wait_for(f"{self.name} has its history at hand", newest, until=lambda _: True, within=SOON, poll=_POLL)

    def steps_of(self, transition: int) -> list[dict[str, Any]]:
        """The steps of one transition, in the order in which they ended."""
        return list(self._ask("transition", id=transition)["steps"])

    def reconfigure(self, text: str) -> None:
        """Have failoverd take another failoverd.toml, which is known to be right: `systemctl reload` would check it."""
        self.machine.write("/etc/failoverd/failoverd.toml", text)
        self.machine.run(["systemctl", "kill", "--kill-who=main", "--signal=HUP", "failoverd.service"], within=SOON)

    def configure_guest(self, guest: str, *words: str) -> None:
        """What its guest is told from its next start on (see site/guest-init)."""
        self.machine.write(f"/etc/xen/{guest}.cfg", hosting.domain(hosting.GUESTS[guest], *words))

    @contextmanager
    def wrapped(self, tool: str, scripts: Mapping[str, str]) -> Iterator[None]:
        """While it lasts, `tool` is a shell script instead where its words are among `scripts`; `$real` is the tool."""
        wrapper, real = f"/usr/local/sbin/{tool}", f"/usr/sbin/{tool}"
        cases = "\n".join(f'"{words}") {script} ;;' for words, script in scripts.items())
        text = f'#!/bin/sh\nreal={real}\ncase "$*" in\n{cases}\nesac\nexec "$real" "$@"\n'
        self.machine.write(wrapper, text, mode=0o755)
        try:
            yield
        finally:
            self.machine.run(["rm", wrapper])

    def _ask(self, verb: str, **params: Any) -> dict[str, Any]:
        try:
            return client.ask(str(self.machine.control), verb, params, deadline=20.0)
        except client.CtlError as error:  # also that its history could not be read in time
            raise ConnectionError(f"{self.name}: {error.error}") from error


def moment(iso: str) -> float:
    """A time that failoverd tells, as seconds since 1970."""
    return datetime.fromisoformat(iso).timestamp()
