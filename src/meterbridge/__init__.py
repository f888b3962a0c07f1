"""Meterbridge: the settlement bridge between metered AI usage and the parties it pays."""

__version__ = "0.1.0"
