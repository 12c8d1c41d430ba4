"""The drivers and their doors, on real programs where there are any."""
