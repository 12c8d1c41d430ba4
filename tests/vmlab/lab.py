"""Machines with the networks between them: made from an image in a moment, gone without a trace.

The fabric is one network namespace with a bridge for each network; machines are plugged in by taps. Whatever else
has to be on a network (an upstream, a client) gets a namespace of its own.

It is a context manager; it also cleans up on SIGTERM and SIGHUP, and what a SIGKILL leaves behind is removed by the
next laboratory that starts.
"""

import signal
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.lab import wire
from tests.lab.run import end_as_by_ctrl_c, new_run, remove_dead_runs

from . import qemu
from .machine import Hardware, Machine


class VmLab:
    """Machines by name, with their hardware; all are off on entry."""

    def __init__(self, machines: Mapping[str, Hardware]) -> None:
        self.run = new_run()
        image = qemu.image()
        self.machines = {
            name: Machine(self.run, name, number, hardware, image)
            for number, (name, hardware) in enumerate(machines.items(), start=1)
        }
        self._networks = sorted({network for hardware in machines.values() for network in hardware.networks})

    def __enter__(self) -> Self:
        end_as_by_ctrl_c()
        try:
            remove_dead_runs()
            self.run.make()
            wire.make_netns(self.run.netns("fabric"))
            # A bridge that was asked for IPv6 multicast listeners would only make noise.
            bridges = [f"link add {network} type bridge mcast_snooping 0" for network in self._networks]
            wire.ip(*bridges, *(f"link set {network} up" for network in self._networks), netns=self.run.netns("fabric"))
            for machine in self.machines.values():
                machine.make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut all power and leave nothing; may be called twice."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            for machine in self.machines.values():
                machine.cut_power()
            self.run.remove()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def boot(self) -> None:
        """Switch all machines on, and wait until they have booted."""
        for machine in self.machines.values():
            machine.start()
        for machine in self.machines.values():
            machine.wait_until_booted()

    def add_namespace(self, role: str, addresses: Mapping[str, str]) -> str:
        """Make a network namespace that is on networks with addresses, and return its name (for wire.in_netns)."""
        namespace = self.run.netns(role)
        wire.make_netns(namespace)
        for index, (network, address) in enumerate(addresses.items()):
            port = f"{role}-{index}"
            wire.ip(
                f"link add {port} type veth peer name eth{index} netns {namespace}",
                f"link set {port} master {network} up",
                netns=self.run.netns("fabric"),
            )
            wire.ip(f"address add {address} dev eth{index}", f"link set eth{index} up", netns=namespace)
        return namespace
