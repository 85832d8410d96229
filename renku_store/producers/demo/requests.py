"""Reads what a demo producer was asked, from the contract's request: the same in this process and in a child's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

TEXT_MAX_CHARS: Final = 20_000
"""About twenty minutes of speech: more in one segment is a mistake."""


class DemoError(Exception):
    """A demo producer cannot do what it was asked; the message is one sentence."""


class Request:
    """A request, and the folder that the paths in it are relative to."""

    def __init__(self, document: Mapping[str, Any], folder: Path) -> None:
        self.folder = folder
        self._inputs: Mapping[str, Any] = document["inputs"]
        self._config: Mapping[str, Any] = document["config"]
        self._outputs: Mapping[str, Any] = document["outputs"]

    @classmethod
    def read(cls) -> Request:
        """Read the request of a program that runs by the contract: `request.json` in the working directory."""
        folder = Path.cwd()
        return cls(json.loads((folder / "request.json").read_text("utf-8")), folder)

    def has(self, name: str) -> bool:
        """Whether the input has a value."""
        return name in self._inputs

    def makes(self, name: str) -> bool:
        """Whether the output is asked for."""
        return name in self._outputs

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text input, or `default` where it is missing; an artefact is read as UTF-8."""
        item = self._inputs.get(name)
        if item is None and default is not None:
            return default
        value = item.get("value") if isinstance(item, dict) else None
        if isinstance(item, dict) and "path" in item:
            value = (self.folder / item["path"]).read_text("utf-8", "replace")
        if not isinstance(value, str):
            raise DemoError(f"The input {name!r} is not a text.")
        if len(value) > TEXT_MAX_CHARS:
            raise DemoError(f"The input {name!r} is longer than {TEXT_MAX_CHARS:,} characters.")
        return value

    def path(self, name: str) -> Path:
        """Return the file of an input that is an artefact."""
        return self._path(name, self._inputs.get(name))

    def paths(self, name: str) -> list[Path]:
        """Return the files of a fan-in, in loop order; a place without a job is an error."""
        found = self.paths_there(name)
        return [self._path(f"{name}[{place}]", None) if path is None else path for place, path in enumerate(found)]

    def paths_there(self, name: str) -> list[Path | None]:
        """Return the files of a fan-in, in loop order; None for a place whose job is not there."""
        items = self._inputs.get(name)
        if not isinstance(items, list) or not items:
            raise DemoError(f"The input {name!r} is not a list of files.")
        return [None if item is None else self._path(f"{name}[{place}]", item) for place, item in enumerate(items)]

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Return a number from the config, within its bounds."""
        value = self._config.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise DemoError(f"The config {name!r} is not a number from {least:g} to {most:g}.")
        return value

    def setting(self, name: str, default: str) -> str:
        """Return a text from the config."""
        value = self._config.get(name, default)
        if not isinstance(value, str):
            raise DemoError(f"The config {name!r} is not a text.")
        return value

    def _path(self, name: str, item: object) -> Path:
        if not isinstance(item, dict) or "path" not in item:
            raise DemoError(f"The input {name!r} is not a file.")
        return self.folder / str(item["path"])
