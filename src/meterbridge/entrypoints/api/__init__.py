"""The metering service over HTTP: usage in, signed statements out."""
