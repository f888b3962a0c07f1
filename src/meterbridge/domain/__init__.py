"""Values and pure functions of the protocol: no I/O, no clock, no chain, no SQL."""
