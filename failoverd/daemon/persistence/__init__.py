"""The records that a daemon leaves to the next one of this boot: one module per record."""
