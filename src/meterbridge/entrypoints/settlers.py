"""Where the commands and the service find `library.settlers`."""

from meterbridge.library.settlers import SettleConfig, make_settlers

__all__ = ["SettleConfig", "make_settlers"]
