"""Bytes under the name of their content: written once, verified whenever they are read."""

from renku_store.blobs.store import BlobStat, BlobStore

__all__ = ["BlobStat", "BlobStore"]
