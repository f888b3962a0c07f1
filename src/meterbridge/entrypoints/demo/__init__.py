"""The demo: the main job for real, from a usage log to money claimed."""
