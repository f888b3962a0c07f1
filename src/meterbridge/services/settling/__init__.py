"""The outbox: from signed statements to transactions that are final, whatever happens in between."""
