"""keepalived: the processes that run, the states that they report on D-Bus, and their track files."""
