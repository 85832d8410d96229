"""A revision as a plain folder that any program can open."""

from renku_store.export.folder import ExportReport, export_revision

__all__ = ["ExportReport", "export_revision"]
