#!/bin/sh
# Makes a throw-away copy of this machine, and becomes its first process: sandbox.py starts it in new mount, pid,
# network and uts namespaces. Whatever is done in there goes to a tmpfs, and no daemon of this machine is reachable.
#
#   sandbox.sh DIR REPOSITORY INIT
#
# Prints its process id as this machine sees it when all is ready, and ends with its standard input.
set -eu
dir=$1 repository=$2 init=$3

read -r pid _ </proc/self/stat
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$dir"
root=$dir/root
mkdir "$root" "$dir/upper" "$dir/work"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"
for tmp in run tmp dev; do
    mount -t tmpfs -o mode=0755 tmpfs "$root/$tmp"
done
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
# The repository may lie on another disk, or below what was just covered.
mkdir -p "$root$repository" "$root/run/old" "$root/run/init"
mount --bind "$repository" "$root$repository"
mount -o remount,bind,ro "$root$repository"
# Python processes in the copy leave there what they have executed.
coverage=$repository/.cache/coverage
[ ! -d "$coverage" ] || mount --bind "$coverage" "$root$coverage"
install -m 755 "$init" "$root/run/init/systemd"

cd "$root"
pivot_root . run/old
umount -l run/old
# Its name is what Puppet knows systemd by.
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin /run/init/systemd "$pid"
