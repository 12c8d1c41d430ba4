#!/bin/sh
# build.sh WORK OUT: builds the Debian package from a clean copy of the source under WORK, and leaves it in OUT.
# The same source gives the same package, byte by byte, wherever and whenever it is built on one Debian release.
set -eu
mkdir -p "$1" "$2"
work=$(cd "$1" && pwd)
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
# Debian's own python, debhelper and perl, and nothing that the caller's environment says of them.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
unset PYTHONPATH PYTHONHOME SOURCE_DATE_EPOCH DEB_BUILD_OPTIONS DEB_BUILD_PROFILES
umask 022

made=$(dpkg-parsechangelog -l packaging/debian/changelog -S Timestamp)
version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
source=$work/failoverd-$version
rm -rf "$source"
mkdir "$source"
# Every file is as old as the release, so that none is older in one checkout than in another.
tar --exclude=__pycache__ --mtime="@$made" -cf - \
    Makefile README.md pyproject.toml docs examples failoverd hooks packaging systemd | tar -C "$source" -xf -
mv "$source/packaging/debian" "$source/debian"

if ! (cd "$source" && dpkg-buildpackage -us -uc -b) >"$work/log" 2>&1; then
    tail -n 40 "$work/log" >&2
    echo "the package was not built; all of it: $work/log" >&2
    exit 1
fi
mv "$work/failoverd_${version}_all.deb" "$out/"
find "$out" -name 'failoverd_*.deb' ! -name "failoverd_${version}_all.deb" -delete
rm -rf "$source" "$work"/failoverd_*
echo "$out/failoverd_${version}_all.deb"
