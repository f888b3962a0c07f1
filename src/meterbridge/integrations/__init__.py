"""Hooks that a gateway adds in three lines: LiteLLM, ASGI, httpx."""
