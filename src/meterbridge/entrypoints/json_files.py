"""Where the commands find `adapters.json_files`."""

from meterbridge.adapters.json_files import BYTES_MAX, BadJsonFile, read_json, write_json

__all__ = ["BYTES_MAX", "BadJsonFile", "read_json", "write_json"]
