"""Finds the schema files, wherever this package was installed.

An installed wheel, and a zip that Python imports from, carry them as `_schema` inside the package; an editable install
has them in the checkout, beside the package.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from renku_store.errors import StoreUnavailableError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACKAGE: Final = __name__.rpartition(".")[0]


def read_schema_files(folder: str, suffix: str) -> dict[str, str]:
    """The text of each file of a schema folder (`sql/sqlite`) by its name, in the order of names.

    Raises `StoreUnavailableError` where the installation lacks them.
    """
    place = _root()
    for part in folder.split("/"):
        place = place.joinpath(part)
    if not place.is_dir():
        raise StoreUnavailableError(
            f"The schema files of {folder} are missing from this installation.", hint="Install renku-store again."
        )
    found = sorted((item for item in place.iterdir() if item.name.endswith(suffix)), key=lambda item: item.name)
    return {item.name: item.read_text(encoding="utf-8") for item in found}


def _root() -> Traversable:
    package = Path(__file__).parent
    inside: Traversable = package
    if not package.is_dir():  # in a zip: what reads those takes long to load
        inside = import_module("importlib.resources").files(_PACKAGE)
    installed = inside.joinpath("_schema")
    if installed.is_dir():
        return installed
    return package.parent.joinpath("schema")
