"""failoverd in a machine, as the stories see it: what it says, what it recorded, and what became of the resources.

The machine is a node of its own: keepalived finds no neighbour, so it is MASTER a few seconds after its start.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from failoverd.core.spec import FORCED_STOP_S
from tests.lab.waiting import wait_for

from .machine import Machine

REPOSITORY = Path(__file__).resolve().parents[2]
VIP = "192.0.2.1"
UNIT = "failoverd.service"

#: Seconds for what takes a moment on a real machine: this one may be emulated, on a busy host.
SOON = 90.0

#: Seconds that an activation may take, and a stop before it is forced, where a watchdog waits for that.
_BEGUN, _STOP = 20.0, 2.0

_STORY = Path(__file__).with_name("story")

_KEEPALIVED = f"""global_defs {{
    vrrp_version 3
    script_user root
    enable_script_security
    enable_dbus
    vrrp_notify_fifo /run/failoverd/keepalived.fifo
}}
vrrp_instance VI_1 {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 0.5
    virtual_ipaddress {{
        {VIP}/32
    }}
    notify "/usr/libexec/failoverd/notify"
}}
"""


def _resource(instance: str, name: str, needs: str = "") -> str:
    verbs = {"activate": "start", "deactivate": "stop", "observe": "look"}
    lines = [f'{key} = ["/srv/story/resource", "{name}", "{verb}"]' for key, verb in verbs.items()]
    return "\n".join([f"[instance.{instance}.resource.{name}]", 'driver = "exec"', *lines, needs, ""])


_FAILOVERD = f"""[instance.VI_1]
vips = ["{VIP}/32"]
interface = "eth0"

[instance.VI_1.resource.web]
driver = "unit"
unit = "web.service"

{_resource("VI_1", "route")}
{_resource("VI_1", "guest", 'needs = ["route"]')}
# What `story/storm` tells of: without a VIP, keepalived's word is believed as it is.
{_resource("storm", "flag")}
"""

# What somebody else starts at boot: it is enabled, against all advice.
_WEB = """[Unit]
Description=Stands for a service that the VIP leads to

[Service]
ExecStart=/usr/bin/sleep infinity

[Install]
WantedBy=multi-user.target
"""


def package() -> Path:
    """The package that `make deb` built."""
    (found,) = (REPOSITORY / "dist").glob("failoverd_*_all.deb")
    return found


def upgraded(deb: Path, work: Path) -> tuple[Path, str]:
    """The same package as a later version, which says so itself, and that version."""
    version = "9.9.9"
    tree = work / "upgraded"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True, timeout=60)
    edits = {
        tree / "DEBIAN/control": (r"(?m)^Version: .*$", f"Version: {version}"),
        tree / "usr/lib/python3/dist-packages/failoverd/__init__.py": (
            r"(?m)^__version__ = .*$",
            f'__version__ = "{version}"',
        ),
    }
    for path, (pattern, text) in edits.items():
        path.write_text(re.sub(pattern, text, path.read_text(encoding="utf-8")), encoding="utf-8")
    newer = work / f"failoverd_{version}_all.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "--root-owner-group", "-b", tree, newer], check=True, timeout=60)
    return newer, version


class Service:
    """failoverd in `machine`, and what it drives there."""

    poll = 0.3
    """Seconds between two looks, where something is waited for."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def configure(self) -> None:
        """Put the stories' resources and configurations there, before anything is installed."""
        for path in _STORY.iterdir():
            self.machine.write(f"/srv/story/{path.name}", path.read_bytes(), mode=0o755)
        self.machine.write("/srv/story/guest.stop-seconds", "3\n")
        self.machine.write("/etc/systemd/system/web.service", _WEB)
        self.machine.write("/etc/keepalived/keepalived.conf", _KEEPALIVED)
        self.machine.run(["systemctl", "enable", "--quiet", "web.service"])

    def install(self, deb: Path) -> None:
        """Install the package, as an administrator does, and configure it."""
        self.put(deb)
        self.machine.run(["dpkg", "-i", f"/srv/story/{deb.name}"], within=SOON)
        self.machine.write("/etc/failoverd/failoverd.toml", _FAILOVERD)
        self.machine.run(["systemctl", "restart", UNIT], within=SOON)

    def watch(self, witness: str, **times: float) -> float:
        """Configure a witness and the watchdog device, with a guest whose stop hangs. Undo it by `unwatch`.

        Returns the seconds after the loss of the witness by which the machine has been reset.
        """
        self.machine.write("/srv/story/guest.stop-seconds", "100000\n")
        lines = "".join(f"{key} = {value}\n" for key, value in times.items())
        table = f'[quorum]\nwitnesses = ["{witness}"]\nwatchdog = "/dev/watchdog"\n{lines}'
        text = re.sub("(?m)^(driver = .*)$", f"\\1\ntimeout = {_BEGUN}\nstop_timeout = {_STOP}", _FAILOVERD)
        self.machine.write("/etc/failoverd/failoverd.toml", f"{text}\n{table}")
        self.machine.run(["systemctl", "reload", UNIT], within=SOON)
        stops = 2 * (_STOP + FORCED_STOP_S)  # the guest, then the route
        return times["isolation_timeout"] + _BEGUN + stops + times["watchdog_timeout"]

    def unwatch(self) -> None:
        """The configuration as `install` left it."""
        self.machine.write("/srv/story/guest.stop-seconds", "3\n")
        self.machine.write("/etc/failoverd/failoverd.toml", _FAILOVERD)
        self.machine.run(["systemctl", "reload", UNIT], within=SOON)

    def put(self, deb: Path) -> str:
        """Copy a package into the machine, and return where it is."""
        self.machine.write(f"/srv/story/{deb.name}", deb.read_bytes())
        return f"/srv/story/{deb.name}"

    # What it says

    def status(self) -> dict[str, Any]:
        """`failoverctl status --json`."""
        return dict(json.loads(self.machine.run(["failoverctl", "status", "--json"]).stdout))

    def doctor(self, about: str) -> list[dict[str, Any]]:
        """The findings of `failoverctl doctor --json` about `about`."""
        said = self.machine.run(["failoverctl", "doctor", "--json"], check=False, within=SOON).stdout
        return [each for each in json.loads(said)["findings"] if each["about"] == about]

    def instance(self) -> dict[str, Any]:
        """What `status` says of the instance VI_1."""
        return dict(self.status()["instances"]["VI_1"])

    def transitions(self) -> list[dict[str, Any]]:
        """What `failoverctl history --json` says of VI_1, newest first."""
        found = json.loads(self.machine.run(["failoverctl", "history", "-n", "1000", "--json"]).stdout)["transitions"]
        return [transition for transition in found if transition["instance"] == "VI_1"]

    def steps(self) -> list[dict[str, Any]]:
        """Every step of VI_1 that the history has, newest first."""
        return [step for transition in self.transitions() for step in transition["steps"]]

    def wait_for_phase(self, phase: str) -> dict[str, Any]:
        """Wait until the instance is in `phase`, and return what `status` says of it."""
        return wait_for(
            f"VI_1 is {phase}", self.instance, until=lambda seen: seen["phase"] == phase, within=SOON, poll=self.poll
        )

    def property(self, name: str, unit: str = UNIT) -> str:
        """A property of a unit, as systemd says it."""
        return self.machine.run(["systemctl", "show", "--value", "-p", name, unit]).stdout.strip()

    def wait_for_property(self, name: str, value: str, unit: str = UNIT) -> None:
        """Wait until a unit's property is `value`."""
        wait_for(
            f"{name} of {unit} is {value}",
            lambda: self.property(name, unit),
            until=lambda seen: seen == value,
            within=SOON,
            poll=self.poll,
        )

    def journal(self, *options: str) -> str:
        """failoverd's lines in the journal."""
        return self.machine.run(["journalctl", "--no-pager", "--quiet", "-u", UNIT, *options]).stdout

    # keepalived

    def become_active(self) -> None:
        """Let keepalived run, and so be MASTER, and wait until all is up."""
        self.machine.run(["systemctl", "start", UNIT, "keepalived.service"], within=SOON)
        self.wait_for_phase("active")

    def become_standby(self) -> None:
        """Stop keepalived, and wait until all is down."""
        self.machine.run(["systemctl", "start", UNIT], within=SOON)
        self.machine.run(["systemctl", "stop", "keepalived.service"], within=SOON)
        self.wait_for_phase("standby")

    # What became of the resources

    def resources(self) -> dict[str, str]:
        """What changes when a resource is touched: the processes that they are, the log of their starts and stops."""
        route, guest = (self.machine.sh(f"cat /run/story/{name}", check=False).strip() for name in ("route", "guest"))
        alive = self.machine.sh(f"ps -o pid= -p {route or 0},{guest or 0} | xargs", check=False).strip()
        return {
            "web": self.property("MainPID", "web.service"),
            "route": route,
            "guest": guest,
            "alive": alive,
            "log": self.log(),
        }

    def log(self) -> str:
        """What VI_1's resources wrote of their starts and stops."""
        return self.machine.sh("grep -v ^flag /srv/story/log", check=False)

    # Events

    def recorded(self, pattern: str) -> list[dict[str, str]]:
        """The events in the history whose instance is like `pattern` (SQL's LIKE), as they came in."""
        script = (
            "import json, sqlite3, sys\n"
            "db = sqlite3.connect('file:/var/lib/failoverd/history.db?mode=ro', uri=True)\n"
            "db.row_factory = sqlite3.Row\n"
            "rows = db.execute('SELECT * FROM events WHERE name LIKE ? ORDER BY id', sys.argv[1:])\n"
            "print(json.dumps([dict(row) for row in rows]))\n"
        )
        return list(json.loads(self.machine.run(["python3", "-c", script, pattern]).stdout))

    def storm_during(self, prefix: str, script: str) -> int:
        """Run a shell script while events come in without a pause (`story/storm`), and return how many rounds."""
        whole = f"/srv/story/storm {prefix} >/run/story-rounds & {script} >&2; touch /run/story/enough; wait $!"
        self.machine.sh(f"set -e; mkdir -p /run/story; {whole}", within=2 * SOON)
        return int(self.machine.read("/run/story-rounds"))

    def assert_nothing_was_lost(self, prefix: str, rounds: int) -> None:
        """All that a storm told is recorded, the FIFO's in order, and the last word of its instance counts."""

        def numbers(source: str) -> list[int]:
            first = dict.fromkeys(row["name"] for row in self.recorded(f"{prefix}-{source}-%"))
            return [int(name.rpartition("-")[2]) for name in first]

        every = list(range(1, rounds + 1))
        last = "MASTER" if rounds % 2 else "BACKUP"
        wait_for(
            f"the last of {rounds} words counts",
            lambda: self.status()["instances"]["storm"]["vrrp_state"],
            until=lambda word: word == last,
            within=SOON,
            poll=self.poll,
        )
        wait_for(
            f"{rounds} hooks are recorded",
            lambda: sorted(numbers("hook")),
            until=lambda recorded: recorded == every,
            within=SOON,
            poll=self.poll,
        )
        assert numbers("fifo") == every
        accepted = [row["state"] for row in self.recorded("storm") if row["verdict"] == "accepted"]
        assert accepted[-1] == last
