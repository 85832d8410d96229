"""Drivers: objects under names, with the guarantees that each declares."""
