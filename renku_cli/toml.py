"""The config file as a document. Imported late: most people have none."""

from __future__ import annotations

import tomllib
from pathlib import Path

from renku_cli.misuse import Misuse


def parsed(data: bytes, path: Path) -> dict[str, object]:
    """The document that some bytes are; `Misuse` names the file where they are none."""
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"The config file {path} is not TOML: {error}", hint="Repair it or remove it.") from error
