"""Copies of immutable objects on this machine, for roots that are far away; see `cache`."""
