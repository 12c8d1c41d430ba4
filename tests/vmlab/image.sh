#!/bin/sh
# Builds the disk that every machine of the laboratory starts from, and prints the directory that holds it:
#
#     image.sh [SUITE]        bookworm unless told otherwise
#
#     disk.img                ext4, read-only to the machines: each writes into an overlay of its own
#     vmlinux                 the kernel, unpacked: an emulated machine takes five seconds to unpack it
#     vmlinuz initrd.img xen  the kernel as Xen boots it, its initrd, and Xen
#     id_ed25519              the key that the machines let in as root
#
# The directory is named after the contents of this script, so a change of it makes another one and a second run does
# nothing. Needs root, for mmdebstrap's chroot. The machine's own apt state is left alone.
#
# VMLAB_MODULES, if it is set: a directory of kernel modules (*.ko) that are taken before Debian's own, for the kernel
# of Debian's linux-image-amd64 of that suite. So is DRBD 9 tested, which Debian does not have (see CONTRIBUTING.md).
set -eu
suite=${1:-bookworm}
here=$(cd "$(dirname "$0")" && pwd)
cache=$here/../../.cache/vmlab
modules=${VMLAB_MODULES:-}
hash=$(cat "$here/image.sh" ${modules:+"$modules"/*.ko} | sha256sum | cut -c 1-12)

case $suite in
trixie) xen=4.20 ;;
*) xen=4.17 ;;
esac
packages="
    linux-image-amd64 linux-image-cloud-amd64 initramfs-tools lz4 xz-utils systemd-sysv dbus udev openssh-server iproute2 iputils-ping procps kmod
    keepalived bird2 frr xen-hypervisor-$xen-amd64 xen-utils-$xen drbd-utils busybox-static
    python3 python3-systemd python3-pydbus python3-structlog python3-jsonschema
    python3-rich python3-argcomplete
"
# Stories start what they need. The rest would only take time, at a boot or in the middle of a story.
disabled="keepalived bird frr drbd xendomains"
masked="apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer logrotate.timer systemd-tmpfiles-clean.timer getty@tty1.service serial-getty@ttyS0.service
    serial-getty@hvc0.service systemd-logind.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
    sys-fs-fuse-connections.mount modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service
    modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service systemd-sysusers.service systemd-random-seed.service
    systemd-user-sessions.service systemd-sysctl.service systemd-remount-fs.service kmod-static-nodes.service
    systemd-tmpfiles-setup-dev.service"

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
image=$cache/$suite-$hash
# Two that want the same image build it once.
exec 9>"$cache/lock"
flock 9
if [ -d "$image" ]; then
    echo "$image"
    exit 0
fi

new=$image.new
rm -rf "$new"
mkdir -p "$new/files"
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

# Debian's own archive, from wherever and however this machine takes its packages.
# shellcheck disable=SC2016 # these are apt's words, not the shell's
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1)
apt-config dump | grep '^Acquire::' >"$new/apt.conf"

ssh-keygen -q -t ed25519 -N '' -C failoverd-vmlab -f "$new/id_ed25519"

files=$new/files
mkdir -p "$files/etc/ssh/sshd_config.d" "$files/etc/systemd/system" \
    "$files/etc/systemd/journald.conf.d" "$files/etc/systemd/system/xen.service.d" "$files/etc/modprobe.d" "$files/root/.ssh" "$files/usr/local/sbin" "$files/var/log/journal"
chmod 700 "$files/root" "$files/root/.ssh"
cp "$new/id_ed25519.pub" "$files/root/.ssh/authorized_keys"
echo "/dev/vda / ext4 noatime 0 0" >"$files/etc/fstab"
echo "127.0.0.1 localhost left right center" >"$files/etc/hosts"
printf 'UsePAM no\nMaxSessions 64\n' >"$files/etc/ssh/sshd_config.d/vmlab.conf"
# The boot before a reboot is evidence, and so is every line of a storm.
printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n' >"$files/etc/systemd/journald.conf.d/vmlab.conf"
# Hardware that nobody asks for, which udev would spend seconds on.
printf 'blacklist %s\n' kvm_amd kvm_intel kvm ata_piix ata_generic pata_acpi libata floppy pcspkr i2c_piix4 psmouse \
    button powernow_k8 acpi_cpufreq >"$files/etc/modprobe.d/vmlab.conf"
printf '[Unit]\nConditionPathExists=/proc/xen\n' >"$files/etc/systemd/system/xen.service.d/vmlab.conf"
cat >"$files/usr/local/sbin/vmlab-network" <<'END'
#!/bin/sh
# Gives each interface the address that the kernel's command line has for it: vmlab.eth0=ADDRESS/LENGTH
for word in $(cat /proc/cmdline); do
    case $word in
    vmlab.eth*=*)
        interface=${word#vmlab.} address=${word#*=}
        interface=${interface%%=*}
        ip link set "$interface" up
        ip address replace "$address" dev "$interface"
        ;;
    esac
done
END
chmod 755 "$files/usr/local/sbin/vmlab-network"
cat >"$files/etc/systemd/system/vmlab-network.service" <<'END'
[Unit]
Description=The laboratory's addresses
DefaultDependencies=no
Wants=network.target
After=systemd-remount-fs.service
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/vmlab-network

[Install]
WantedBy=multi-user.target
END

root=$new/root
# shellcheck disable=SC2016 # $1 is the chroot, and mmdebstrap's shell puts it in
INITRD=No mmdebstrap --quiet --mode=root --variant=minbase --aptopt="$new/apt.conf" \
    --include="$(echo "$packages" | xargs | tr ' ' ,)" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook="tar -C '$files' --owner=0 --group=0 -c . | tar -C \"\$1\" -x" \
    --customize-hook="chroot \"\$1\" sh -c 'for unit in $(echo "$disabled" | xargs); do systemctl disable --quiet \$unit; done'" \
    --customize-hook="systemctl --quiet --root \"\$1\" mask $(echo "$masked" | xargs)" \
    --customize-hook='systemctl --quiet --root "$1" enable vmlab-network.service ssh.service' \
    --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
    --customize-hook='rm -f "$1/etc/resolv.conf"; : >"$1/etc/machine-id"; rm -f "$1/var/lib/dbus/machine-id"' \
    "$suite" "$root" "$mirror" >&2

# The kernel that is in $1, from where the magic bytes $2 are, by the command that follows.
unpacked() {
    start=$(LC_ALL=C grep -abo -m 1 -P "$2" "$1" | head -n 1 | cut -d : -f 1)
    file=$1
    shift 2
    # What follows it there is not part of it, and no error.
    tail -c "+$((start + 1))" "$file" | chroot "$root" "$@" 2>/dev/null || :
}
cloud=$(basename "$root"/lib/modules/*-cloud-amd64)
stock=$(echo "$cloud" | sed 's/-cloud-/-/')
if [ -n "$modules" ]; then
    install -D -m 644 -t "$root/lib/modules/$stock/updates" "$modules"/*.ko
    chroot "$root" depmod "$stock"
    for module in "$modules"/*.ko; do
        for_kernel=$(chroot "$root" modinfo -F vermagic "/lib/modules/$stock/updates/$(basename "$module")" | cut -d ' ' -f 1)
        [ "$for_kernel" = "$stock" ] || {
            echo "$module is for the kernel $for_kernel; the machines have $stock" >&2
            exit 1
        }
    done
fi
cp "$root/boot/vmlinuz-$stock" "$new/vmlinuz"
unpacked "$new/vmlinuz" '\xfd7zXZ\x00' xz -dc --single-stream >"$new/vmlinux"
[ -s "$new/vmlinux" ]
# What machines and guests begin with. Debian's own initrd looks for hardware, which takes an emulated machine half a
# minute; and guests have Debian's kernel for clouds, which boots in two thirds of the time.
chroot "$root" sh -eu -s "$stock" "$cloud" <<'END'
# Begins the initrd that is in the directory $1: busybox, and modules of the kernel $2 in the order of their loading.
begin() {
    mkdir -p "$1/bin" "$1/dev" "$1/lib" "$1/proc" "$1/root" "$1/sbin" "$1/sys" "$1/tmp"
    cp /bin/busybox "$1/bin/"
    tree=$1 kernel=$2 number=10
    shift 2
    # One that is not there is part of this kernel.
    needed=$(for module; do modprobe -S "$kernel" -D "$module" 2>/dev/null || :; done)
    for file in $(echo "$needed" | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
        name=$number-$(basename "${file%.xz}")
        case $file in
        *.xz) xz -dc "$file" >"$tree/lib/$name" ;;
        *) cp "$file" "$tree/lib/$name" ;;
        esac
        number=$((number + 1))
    done
}

packed() {
    (cd "$1" && find . | cpio --quiet -o -H newc)
    rm -r "$1"
}

begin /srv/machine "$1" virtio_pci virtio_blk virtio_net virtio_rng crc32c_generic ext4
cat >/srv/machine/init <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /lib/*.ko; do /bin/busybox insmod "$module"; done
until [ -b /dev/vda ]; do /bin/busybox usleep 50000; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -o move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
INIT
chmod 755 /srv/machine/init
packed /srv/machine >/srv/initrd.img
mkdir /srv/guest
begin /srv/guest/root "$2" xen-blkfront xen-netfront
packed /srv/guest/root >/srv/guest/base.img
END
mv "$root/srv/initrd.img" "$new/initrd.img"
unpacked "$root/boot/vmlinuz-$cloud" '\x02\x21\x4c\x18' lz4 -dc >"$root/srv/guest/vmlinux"
[ -s "$root/srv/guest/vmlinux" ]
rm -r "$root/lib/modules/$cloud"
[ ! -e "$root/boot/xen-$xen-amd64.gz" ] || gzip -dc "$root/boot/xen-$xen-amd64.gz" >"$new/xen"
rm -rf "${root:?}"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
mke2fs -q -t ext4 -E lazy_itable_init=1 -d "$root" "$new/disk.img" 4G
rm -rf "$root" "$files" "$new/apt.conf"
mv "$new" "$image"
# Images of other versions of this script, but none that a machine may still run from.
find "$cache" -maxdepth 1 -name "$suite-*" ! -path "$image" -mtime +0 -exec rm -rf {} +
echo "$image"
