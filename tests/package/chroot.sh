#!/bin/sh
# chroot.sh SUITE DIR PACKAGE...: a minimal Debian of that suite with these packages, in DIR, which must not be there.
# From wherever this machine takes its packages, with what its apt knows of proxies, certificates and dates.
set -eu
suite=$1 target=$2
shift 2
# shellcheck disable=SC2016 # these are apt's words, not the shell's
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1)
draft=$target.new
rm -rf "$draft"
mkdir -p "$(dirname "$target")"
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
apt-config dump --no-empty | grep -E '^Acquire::(https?|Check-Date|Check-Valid-Until|Retries)[: ]' >"$settings" || true
mmdebstrap --quiet --mode=root --variant=minbase --format=directory --components=main \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --aptopt="$settings" --aptopt='Acquire::Languages "none"' --aptopt='APT::Sandbox::User "root"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include="$(echo "$*" | tr ' ' ',')" \
    "$suite" "$draft" "$mirror"
# What was excluded above must not be missing when the package itself is installed.
rm -f "$draft"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
mv "$draft" "$target"
