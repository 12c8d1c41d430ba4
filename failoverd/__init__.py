"""failoverd makes a machine follow its VIP.

A map of the package, for a newcomer:

* ``core/``     every decision, and nothing else: no I/O, no clock, no log
* ``drivers/``  one file per kind of resource, and the doors to processes and to D-Bus
* ``daemon/``   the shell around the core: what comes in, what goes out, and the loop
* ``ctl/``      ``failoverctl``, which talks to the daemon's control socket only
* ``records.py``  what is remembered over a restart, and not over a boot; ``trouble.py``: what is wrong around failoverd
* ``processes.py``  processes as proc(5) shows them
* ``log.py``    the only place that knows structlog
"""

__version__ = "0.1.0"
