"""Sealing at a high rate: scans, the store of seals, and the index of events."""
