"""A revision as a plain folder that any program can open, once or always up to date."""

from renku_store.export.folder import ExportReport, export_revision
from renku_store.export.view import update_view

__all__ = ["ExportReport", "export_revision", "update_view"]
