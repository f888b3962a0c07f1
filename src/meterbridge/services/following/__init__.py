"""From the contract's events to the ledger: follow the chain, watch over it, and reconcile with it."""
