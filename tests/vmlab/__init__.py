"""The laboratory of virtual machines: whole Debian systems under QEMU, with the package installed.

What network namespaces cannot show is shown here: a boot, a shutdown, a watchdog, an upgrade, and (with Xen and DRBD)
guests on replicated disks. Root and QEMU are needed, no more; KVM is used where it works.

- `image.sh` builds the disk that all machines start from, once;
- `qemu.py` knows QEMU's command line, `monitor.py` its monitor, `tsc.py` the processor's clock; `machine.py` is one
  machine, `door.py` the way into it, `lab.py` some machines with their networks;
- `service.py` is failoverd as the stories see it, in a machine;
- `hypervisors.py` is three machines with Xen and DRBD, with an upstream and a client, `hypervisor.py` one of them;
  `hosting.py` and `hearing.py` are how they are configured, with the ssh by which failoverctl asks the others;
  `template.py` makes the machine that they begin as, `kept.py` is where that is kept, and the three of them in the
  middle of their work;
  `site/` is what runs in them and in their guests, and `consistency.py` judges what was heard of them outside.
"""
