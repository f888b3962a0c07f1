"""What a chain, a node, a network and a power cut can do to a settlement, done on purpose."""
