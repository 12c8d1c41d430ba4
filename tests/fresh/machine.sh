#!/bin/sh
# machine.sh BASE TREE DEBS WHEELS: in new namespaces and a cgroup of its own, becomes a machine that begins as the
# Debian in the directory BASE, with the checkout TREE (a tar archive), and runs inside.sh there. DEBS is where its apt
# keeps what it downloads, WHEELS what its pip may install.
#
# Its root is changed by pivot_root: in a plain chroot the kernel makes no user namespace, which sandboxes need.
set -eu
base=$1 tree=$2 debs=$3 wheels=$4
here=$(cd "$(dirname "$0")" && pwd)

mount -t tmpfs -o mode=755 tmpfs /mnt
cp -a "$base/." /mnt
cp "$here/inside.sh" /mnt/root/
mkdir /mnt/root/failoverd /mnt/root/wheels /mnt/root/old
tar -C /mnt/root/failoverd -xf "$tree" --no-same-owner
cp /etc/resolv.conf /etc/hosts /mnt/etc/
mount --bind "$debs" /mnt/var/cache/apt/archives
mount --bind "$wheels" /mnt/root/wheels

cd /mnt
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
hostname fresh

pivot_root . root/old
exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels \
    sh -c 'umount -l /root/old && exec sh /root/inside.sh'
