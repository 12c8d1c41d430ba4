"""Every decision that failoverd takes: pure, deterministic, without I/O, clock or log."""
