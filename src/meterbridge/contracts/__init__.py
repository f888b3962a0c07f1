"""Generated from the Solidity sources by scripts/artifacts: ABI, bytecode and typed-data strings."""
