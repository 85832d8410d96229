"""`renku://`, an fsspec file system: every published revision, to be read by the tools that people already use.

It is found through the entry point `renku` of the group `fsspec.specs`; nothing of the store imports it, or fsspec.
"""

from renku_store.filesystem.system import RenkuFileSystem

__all__ = ["RenkuFileSystem"]
