"""The ledger in SQL, part by part; `meterbridge.adapters.ledger` puts the parts together."""
