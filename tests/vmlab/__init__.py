"""The laboratory of virtual machines: whole Debian systems under QEMU, with the package installed.

What network namespaces cannot show is shown here: a boot, a shutdown, a watchdog, an upgrade, and (with Xen and DRBD)
guests on replicated disks. Root and QEMU are needed, no more; KVM is used where it works.

- `image.sh` builds the disk that all machines start from, once;
- `qemu.py` knows QEMU's command line, `tsc.py` the processor's clock, `machine.py` is one machine, `lab.py` some of them with their networks;
- `service.py` is failoverd as the stories see it, in a machine;
- `hypervisors.py` is three machines with Xen and DRBD, with an upstream and a client; `hosting.py` is how they are
  configured, `template.py` makes the disks that they begin as, `site/` is what runs in them and in their guests, and
  `evidence.py` judges what was heard of them outside.
"""
