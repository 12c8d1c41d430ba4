#!/bin/sh
# In the machine: the set-up with this host's network, for apt; all else with a network of its own, in which nothing
# can be fetched any more.
set -eu
cd /root/failoverd
sys='mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup'
unshare --mount sh -c "$sys && exec make .venv/made .cache/birds/made"
exec unshare --mount --net sh -c "$sys && ip link set lo up && make demo && make quick"
