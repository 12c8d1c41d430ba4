"""The shell around the core: everything that comes in, everything that goes out, and the loop between."""
