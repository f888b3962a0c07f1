"""The ledger's tables: registry, usage and assets, each in a module of its own.

No table holds usage and assets both: they meet only where `price` turns the one into the other, which no
database does.
"""
