"""The history: a process of its own that owns the database, and a bounded queue to it."""
