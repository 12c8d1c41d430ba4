#!/bin/sh
# Stands for systemd's tool where no systemd runs: remembers which units are enabled and running, and logs each word
# that it was given to change that. A unit that is not known is neither enabled nor running.
#
#   systemctl [OPTION...] VERB [OPTION...] [UNIT]
state=/var/lib/units
mkdir -p "$state"
verb="" unit=""
for word in "$@"; do
    case $word in
    -*) ;;
    *)
        if [ -z "$verb" ]; then
            verb=$word
        else
            unit=${word%.service}
        fi
        ;;
    esac
done

running() { [ -e "$state/$unit.running" ]; }
enabled() { [ -e "$state/$unit.enabled" ]; }

case $verb in
show)
    if running; then active=active; else active=inactive; fi
    printf 'Id=%s.service\nLoadState=loaded\nActiveState=%s\nNeedDaemonReload=no\n' "$unit" "$active"
    exit 0
    ;;
is-active) running && echo active && exit 0; echo inactive && exit 3 ;;
is-enabled) enabled && echo enabled && exit 0; echo disabled && exit 1 ;;
enable) : >"$state/$unit.enabled" ;;
disable) rm -f "$state/$unit.enabled" ;;
start) : >"$state/$unit.running" ;;
stop) rm -f "$state/$unit.running" ;;
reload) running || exit 1 ;;
restart | unmask | daemon-reload) ;;
*) exit 0 ;;
esac
echo "$verb $unit" >>"$state/log"
