"""Producers that come with the project, and the registry that finds them and others."""
