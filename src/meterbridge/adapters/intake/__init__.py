"""How events come in: group commit, quarantine, API keys, limits."""
