"""Where the commands find `adapters.statement_files`."""

from meterbridge.adapters.statement_files import keep_statement, read_statement

__all__ = ["keep_statement", "read_statement"]
