"""failoverd makes a machine follow its VIP.

A map of the package, for a newcomer:

* ``core/``     every decision, and nothing else: no I/O, no clock, no log
* ``osutil/``   the services of the operating system: files, locks, processes, inotify, threads
* ``ports/``    one port per foreign program or library: commands, D-Bus, DRBD, netlink
* ``drivers/``  one module per kind of resource
* ``daemon/``   the shell around the core: reports in, effects out, and the loop
* ``ctl/``      ``failoverctl``, which talks to the daemon's control socket only
* ``log/``      the only place that imports structlog
* ``alarms.py`` every alarm; ``records.py``: records that survive the daemon and not the boot; ``trouble.py``: problems
  of failoverd's own surroundings; ``command_text.py``: commands of failoverctl to be pasted
"""

__version__ = "0.2.0.dev0"
