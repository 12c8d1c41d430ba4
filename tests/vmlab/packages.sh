#!/bin/sh
# Install what the laboratory of virtual machines needs from Debian (12 or 13), beside what tests/packages.sh has.
# Does nothing, and needs no root, when everything is there.
set -eu

packages="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs openssh-client xz-utils debian-archive-keyring iproute2 iputils-ping
    util-linux"

missing=""
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
    "install ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "not root: please run 'apt-get install$missing' first" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # the names are to be split
apt-get install -y -qq --no-install-recommends $missing >/dev/null
