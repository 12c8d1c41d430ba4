"""The heartbeat between the failoverds: signed datagrams over UDP, from which replays and strangers prove nothing."""
