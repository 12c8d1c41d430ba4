#!/bin/sh
# Fetches the birds that this machine cannot install beside its own, for the tests of the bird driver:
# 1.6 (Debian 12) and 3.x (Debian 13, with the libraries that it needs), each unpacked under .cache/birds.
# Installs nothing and leaves the machine's own apt state alone. Runs again for what is missing only.
# After it, .cache/birds/1.6/run and .cache/birds/3/run start the daemons.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache/birds
# Debian's own archive, from wherever this machine takes its packages.
# shellcheck disable=SC2016 # these are apt's words, not the shell's
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
arch=$(dpkg --print-architecture)

# fetch SUITE DIR PACKAGE...: the packages of that suite, unpacked into DIR.
fetch() {
    suite=$1 target=$2
    shift 2
    work=$cache/apt-$suite
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/debs" "$target"
    chmod 755 "$cache" "$work"
    : >"$work/status"
    echo "deb [arch=$arch signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
    options="-qq -o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::PreferencesParts=/dev/null -o Dir::Etc::Preferences=/dev/null
        -o Dir::State=$work/state -o Dir::State::status=$work/status -o Dir::Cache=$work/cache
        -o APT::Get::List-Cleanup=0 -o Acquire::Languages=none -o APT::Sandbox::User=root
        -o Acquire::Retries=3"
    # shellcheck disable=SC2086 # the options are words on purpose
    apt-get $options update
    # shellcheck disable=SC2086
    (cd "$work/debs" && apt-get $options download "$@")
    for deb in "$work"/debs/*.deb; do
        dpkg-deb -x "$deb" "$target"
    done
    rm -rf "$work"
}

# bird 1.6 links only to what every Debian since 12 has.
if [ ! -x "$cache/1.6/run" ]; then
    fetch bookworm "$cache/1.6" bird
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$cache/1.6/usr/sbin/bird" >"$cache/1.6/run.new"
    chmod 755 "$cache/1.6/run.new"
    mv "$cache/1.6/run.new" "$cache/1.6/run"
fi

# bird 3 wants Debian 13's C library, so it is started by that library's own loader.
if [ ! -x "$cache/3/run" ]; then
    fetch trixie "$cache/3" bird3 libc6 libssh-4 libssl3t64 libgssapi-krb5-2 libkrb5-3 libk5crypto3 \
        libkrb5support0 libcom-err2 libkeyutils1 libzstd1 zlib1g libgcc-s1
    loader=$(find "$cache/3" -name 'ld-linux*.so*' | head -n 1)
    library=$(dirname "$(find "$cache/3" -name 'libc.so.6' | head -n 1)")
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$library" "$cache/3/usr/sbin/bird" >"$cache/3/run.new"
    chmod 755 "$cache/3/run.new"
    mv "$cache/3/run.new" "$cache/3/run"
fi
