"""Objects in memory: the driver of `memory://`."""
