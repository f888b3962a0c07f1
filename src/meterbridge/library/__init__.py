"""Meterbridge from Python: `Provider`, `Payer` and `Contributor`, and the same for code that awaits.

Everything here is exported by `meterbridge` itself; docs/library.md shows it at work.
"""
