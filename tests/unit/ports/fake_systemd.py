"""A stand-in for systemd on a private bus, run as a process: units whose names say how they behave."""

import sys
from typing import Any

import pydbus
from gi.repository import GLib

UNIT = """
<node>
  <interface name='org.freedesktop.systemd1.Unit'>
    <property name='LoadState' type='s' access='read'/>
    <property name='ActiveState' type='s' access='read'/>
    <property name='SubState' type='s' access='read'/>
  </interface>
  <interface name='org.freedesktop.systemd1.Service'>
    <property name='Result' type='s' access='read'/>
    <property name='TasksCurrent' type='t' access='read'/>
    <property name='Type' type='s' access='read'/>
    <property name='RemainAfterExit' type='b' access='read'/>
  </interface>
</node>
"""

MANAGER = """
<node>
  <interface name='org.freedesktop.systemd1.Manager'>
    <method name='Subscribe'/>
    <method name='LoadUnit'><arg type='s' direction='in'/><arg type='o' direction='out'/></method>
    <method name='ResetFailedUnit'><arg type='s' direction='in'/></method>
    <method name='StartUnit'>
      <arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='o' direction='out'/>
    </method>
    <method name='StopUnit'>
      <arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='o' direction='out'/>
    </method>
    <method name='KillUnit'>
      <arg type='s' direction='in'/><arg type='s' direction='in'/><arg type='i' direction='in'/>
    </method>
  </interface>
</node>
"""

#: Starts that systemd lets a unit have before it has to be told to forget them, as FRR's unit says in Debian.
START_LIMIT = 3

#: Signals by which a unit dies by itself, or has a new text for its status and is what it was.
DEATH, CHATTER = 11, 10

no_such_unit = type("org.freedesktop.systemd1.NoSuchUnit", (Exception,), {})


class Unit:
    dbus = UNIT

    def __init__(self, name: str, path: str) -> None:
        self.path = path
        self.LoadState = "not-found" if name.startswith("nosuch") else "loaded"
        self.ActiveState, self.SubState = "inactive", "dead"
        self.Result, self.TasksCurrent = "success", 2**64 - 1
        self.Type = "oneshot" if name.startswith("oneshot") else "simple"
        self.RemainAfterExit = "remains" in name
        self.job: str | None = None
        self.starts = 0


class Manager:
    dbus = MANAGER

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.units: dict[str, Unit] = {}
        self.jobs = 0
        self.subscribed = False

    def Subscribe(self) -> None:  # noqa: N802 - D-Bus's names
        self.subscribed = True

    def LoadUnit(self, name: str) -> str:  # noqa: N802
        path = "/org/freedesktop/systemd1/unit/" + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in name)
        if name not in self.units:
            self.units[name] = Unit(name, path)
            self.bus.register_object(path, self.units[name], None)
        return path

    def ResetFailedUnit(self, name: str) -> None:  # noqa: N802
        if name not in self.units:
            raise no_such_unit(f"Unit {name} not loaded.")
        self.units[name].starts = 0

    def StartUnit(self, name: str, _mode: str) -> str:  # noqa: N802
        unit = self.known(name)
        unit.starts += 1
        if unit.starts > START_LIMIT:
            unit.Result = "start-limit-hit"
            return self.job(name, "failed", ("failed", "failed"))
        if name.startswith("fails"):
            unit.Result = "exit-code"
            return self.job(name, "failed", ("failed", "failed"))
        self.become(unit, "activating", "start")
        return self.job(name, "done", ("active", "running"))

    def StopUnit(self, name: str, _mode: str) -> str:  # noqa: N802
        unit = self.known(name)
        if name.startswith("stubborn") and unit.ActiveState != "inactive":
            self.become(unit, "deactivating", "stop-sigterm")
            unit.job = unit.job or self.new_job()
            return unit.job
        return self.job(name, "done", ("inactive", "dead"))

    def KillUnit(self, name: str, _who: str, number: int) -> None:  # noqa: N802
        unit = self.known(name)
        if number == CHATTER:
            self.tell(unit, StatusText=GLib.Variant("s", "busy"))
        elif unit.job is None and number == DEATH:
            self.become(unit, "deactivating", "stop-post")
            self.become(unit, "failed", "failed")
        elif unit.job is not None and number == 9:
            unit.Result = "signal"
            GLib.timeout_add(0, self.removed, unit.job, name, "done", ("failed", "failed"))

    def become(self, unit: Unit, active: str, sub: str) -> None:
        unit.ActiveState, unit.SubState = active, sub
        self.tell(unit)

    def tell(self, unit: Unit, **more: GLib.Variant) -> None:
        """As systemd does: of a change, all that may have changed is told, to those who asked for it."""
        told = {"ActiveState": GLib.Variant("s", unit.ActiveState), "SubState": GLib.Variant("s", unit.SubState)}
        for interface, properties in (("Service", more), ("Unit", told)):
            if self.subscribed:
                self.bus.con.emit_signal(
                    None, unit.path, "org.freedesktop.DBus.Properties", "PropertiesChanged",
                    GLib.Variant("(sa{sv}as)", (f"org.freedesktop.systemd1.{interface}", properties, [])),
                )  # fmt: skip

    def known(self, name: str) -> Unit:
        if name.startswith("nosuch"):
            raise no_such_unit(f"Unit {name} not found.")
        self.LoadUnit(name)
        return self.units[name]

    def new_job(self) -> str:
        self.jobs += 1
        return f"/org/freedesktop/systemd1/job/{self.jobs}"

    def job(self, name: str, result: str, then: tuple[str, str]) -> str:
        path = self.new_job()
        if name.startswith("early"):
            self.removed(path, name, result, then)
        else:
            GLib.timeout_add(20, self.removed, path, name, result, then)
        return path

    def removed(self, path: str, name: str, result: str, then: tuple[str, str]) -> bool:
        self.become(self.units[name], *then)
        self.units[name].job = None
        if self.subscribed:
            self.bus.con.emit_signal(
                None, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved",
                GLib.Variant("(uoss)", (self.jobs, path, name, result)),
            )  # fmt: skip
        return False


def main() -> None:
    bus = pydbus.connect(sys.argv[1])
    manager = Manager(bus)
    bus.register_object("/org/freedesktop/systemd1", manager, None)
    bus.request_name("org.freedesktop.systemd1")
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
