#!/bin/sh
# Install what the tests, the demo and the bench need from Debian (12 or 13), and start none of it: the daemons run
# in laboratories only. Does nothing, and needs no root, when everything is there.
set -eu

packages="
    make git python3-venv python3-setuptools python3-wheel python3-systemd python3-pydbus python3-psutil python3-structlog
    python3-jsonschema python3-rich python3-argcomplete python3-prometheus-client
    keepalived bird2 frr etcd-server drbd-utils systemd dbus iproute2 util-linux procps kmod openssh-client shellcheck perl-base
    scdoc groff-base man-db zsh fish bash-completion
    haproxy curl ansible-core ansible-lint python3-apt puppet-agent puppet-lint systemd-container
"
# Compilers and headers, for the newest releases from PyPI.
[ "${1:-}" != newest ] || packages="$packages gcc pkg-config python3-dev libsystemd-dev libgirepository1.0-dev libcairo2-dev"
# What `make deb` needs, which is all that it needs: see Build-Depends in packaging/debian/control; and what checks it.
[ "${1:-}" != package ] || packages="build-essential debhelper dh-python pybuild-plugin-pyproject python3-all python3-argcomplete
    python3-jsonschema python3-pydbus python3-rich python3-setuptools python3-structlog
    python3-systemd scdoc lintian mmdebstrap"
# What the laboratory of virtual machines needs.
[ "${1:-}" != vmlab ] || packages="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs openssh-client debian-archive-keyring
    iproute2 iputils-ping util-linux"
# The programs that read what failoverd writes.
[ "${1:-}" != consumers ] || packages="monit nagios4-core icinga2-bin prometheus prometheus-node-exporter chromium"
# What a fresh Debian is made with.
[ "${1:-}" != fresh ] || packages="mmdebstrap debian-archive-keyring git util-linux"
daemons="keepalived bird frr etcd drbd haproxy puppet monit nagios4 icinga2 exim4 prometheus prometheus-node-exporter"

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
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # the names are to be split
apt-get install -y -qq --no-install-recommends $missing >/dev/null
# What is new here must not start at the next boot of this machine either.
if [ -d /run/systemd/system ]; then
    for daemon in $daemons; do
        case " $missing " in
        *" $daemon"*) systemctl disable --quiet "$daemon.service" || true ;;
        esac
    done
fi
