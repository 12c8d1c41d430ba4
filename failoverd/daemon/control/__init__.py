"""The control socket: the limits of its clients, their share of the loop's time, and the answers."""
