"""The door to what DRBD says, for every driver that must know it. What is done about it is the drivers' business.

look.py asks, by a resource's name or by a device's minor; status.py is the model of both generations, and DRBD 9's
JSON; events.py understands the events of both, one dump or a stream. wire.py finds a resource's dead connections.
"""
