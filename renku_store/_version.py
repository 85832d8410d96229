"""The version of the package, read by the build and by `renku-store --version` without further imports."""

__version__ = "0.1.0"
"""The version of the package, by Semantic Versioning."""
