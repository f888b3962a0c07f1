"""Whole request bodies read into columns at once: known shapes by compiled code, the rest as ever.

Compiled code takes only what it is sure of: whole numbers, texts without escapes, and records of a shape
whose plan gave the same event as the ordinary reader when it was first seen. Every other record goes through
the ordinary reader, which alone decides what is refused and why. So the verdicts are the same by
construction, and a property test compares them.
"""
