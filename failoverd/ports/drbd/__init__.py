"""The port to DRBD's state, for every driver that needs it. The drivers decide; this port reads.

look.py reads the state of a resource, by its name or by a device's minor; status.py is the model of both generations,
and parses the JSON of DRBD 9; events.py parses the events of both, one dump or a stream. wire.py finds the dead
connections of a resource.
"""
