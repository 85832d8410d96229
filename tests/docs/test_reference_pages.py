"""The pages of the reference that are made from the code say what the code says, and nothing public is missing."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import renku_store
from renku_cli.table import COMMANDS

_TOP = Path(__file__).resolve().parents[2]
_REFERENCE = _TOP / "docs" / "reference"


@pytest.fixture(scope="module")
def module() -> Mapping[str, Any]:
    """The module that makes the pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_TOP / "docs" / "building")
        return runpy.run_path(str(_TOP / "docs" / "building" / "reference_pages.py"))


@pytest.mark.parametrize("page", ["cli-options.md", "python-api.md"])
def test_a_made_page_is_what_the_code_makes_now(page: str, module: Mapping[str, Any]) -> None:
    """A signature, default, docstring, option or help that changes is written anew: `make reference`."""
    assert (_REFERENCE / page).read_text(encoding="utf-8") == module["pages"]()[page], "`make reference` writes it anew"


def test_every_public_name_has_an_entry() -> None:
    """Each name of the package once, and no other."""
    names = re.findall(r"^### `(\w+)`$", (_REFERENCE / "python-api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(renku_store.__all__)


def test_every_command_has_an_entry() -> None:
    """Each command once, in the order of the program."""
    text = (_REFERENCE / "cli-options.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `(\w+)`$", text, re.MULTILINE) == list(COMMANDS)


def test_a_public_name_without_a_docstring_is_refused(
    module: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function, a class or a method that says nothing of itself does not get onto the page."""
    entry_of = module["entry_of"]
    monkeypatch.setattr(renku_store.open_store, "__doc__", None)
    with pytest.raises(LookupError, match="open_store has no docstring"):
        entry_of("open_store")
    monkeypatch.setattr(renku_store.BlobStore.put, "__doc__", None)
    with pytest.raises(LookupError, match=r"BlobStore\.put has no docstring"):
        entry_of("BlobStore")
