#!/bin/sh
# Turns a fresh set of namespaces into a node and becomes its systemd.
#
# Runs as PID 1 of a new pid namespace, in new mount, cgroup, uts and ipc namespaces and in the node's network
# namespace (node.py says how). Everything the node can write is a tmpfs over the host's root or a directory of the
# lab's own, so nothing that it does reaches the host: its systemd once cleared the host's /tmp.
#
#   node_init.sh NAME NODE_DIR JOURNAL_DIR TARGET [READ_ONLY_DIR ...]
#
# NODE_DIR holds the node's disk (what survives its power being cut), the directory `host` (the node's door to the
# laboratory) and an empty directory `root`.
set -eu

name=$1 dir=$2 journal=$3 target=$4
shift 4

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$dir/root"
mkdir "$dir/root/upper" "$dir/root/work" "$dir/root/new"
root=$dir/root/new
mount -t overlay -o "lowerdir=/,upperdir=$dir/root/upper,workdir=$dir/root/work" overlay "$root"

for mount_point in run tmp dev; do
    mount -t tmpfs -o mode=0755 tmpfs "$root/$mount_point"
done
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# The repository and the virtual environment may live below what was just covered.
for read_only in "$@"; do
    mkdir -p "$root$read_only"
    mount --bind "$read_only" "$root$read_only"
    mount -o remount,bind,ro "$root$read_only"
done

# The disk: each directory in the list replaces the host's of that name.
while read -r directory; do
    mkdir -p "$root/$directory"
    mount --bind "$dir/disk/$directory" "$root/$directory"
done <"$dir/disk/directories"
cp "$dir/disk/hostname" "$dir/disk/machine-id" "$root/etc/"
hostname "$name"

# The host's enabled units and its generators are none of the node's: it starts what its target names, no more.
rm -rf "$root"/lib/systemd/system/*.wants "$root"/lib/systemd/system-generators/*

mkdir -p "$root/run/lock" "$root/run/systemd/system" "$root/run/host" "$root/run/log/journal"
mount --bind "$dir/host" "$root/run/host"
mount --bind "$journal" "$root/run/log/journal"

# A start of the node is a boot to whatever asks for the boot id, as systemd-nspawn does it.
cat /proc/sys/kernel/random/uuid >"$root/run/boot-id"
mount --bind "$root/run/boot-id" "$root/proc/sys/kernel/random/boot_id"

# What tmpfiles would make of the packages' files.
mkdir -p "$root/run/failoverd/spool" "$root/run/failoverd/track"
mkfifo -m 0600 "$root/run/failoverd/keepalived.fifo"

mkdir "$root/run/old-root"
cd "$root"
pivot_root . run/old-root
# shellcheck disable=SC2016  # $1 is the inner shell's
exec env -i container=failoverd-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 NOTIFY_SOCKET=/run/host/notify \
    sh -c 'umount -l /run/old-root && rmdir /run/old-root && exec /lib/systemd/systemd --unit="$1" --log-target=console' \
    sh "$target" </dev/null
