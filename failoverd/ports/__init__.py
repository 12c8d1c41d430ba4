"""The ports: the one module for each program or library outside failoverd. Every wait in a port has a deadline.

A port sends requests and parses the answers: processes, D-Bus, systemd's units, DRBD, netlink, sockets of other
programs. It never decides; drivers and the daemon do. No other module imports the library of a port.
"""
