"""The heartbeat: what this node says of its instances, and what it hears of those of the other nodes."""
