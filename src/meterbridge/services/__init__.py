"""One step of the way each; services see ports, never adapters."""
