"""Migration: movies of older layouts, read as they are and published as if they had been made here."""

from renku_store.migration.movies import migrate
from renku_store.migration.reports import (
    MigratedBytes,
    MigratedPath,
    MigrationProgress,
    MigrationReport,
    MovieMigration,
    UnmigratedItem,
)

__all__ = [
    "MigratedBytes",
    "MigratedPath",
    "MigrationProgress",
    "MigrationReport",
    "MovieMigration",
    "UnmigratedItem",
    "migrate",
]
