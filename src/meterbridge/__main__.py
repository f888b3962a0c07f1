"""`python -m meterbridge` is `meterbridge`."""

from meterbridge.entrypoints.cli import main

if __name__ == "__main__":
    main()
