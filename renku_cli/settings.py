"""Where a setting comes from: the command line, the environment, the config file, or the default, in that order.

The config file is `$XDG_CONFIG_HOME/renku-store/config.toml` (else `~/.config/...`). It is read here and written by
`renku-store config` only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from renku_cli.misuse import Misuse
from renku_cli.table import load
from renku_store import BadInputError, StoreError

Source = Literal["command line", "environment", "config file", "default"]


class Key(Struct, frozen=True):
    """A setting: its environment variable (None: it has none), its default (None: none), and what it is."""

    environment: str | None
    default: str | None
    meaning: str


KEYS: Final[Mapping[str, Key]] = {
    "root": Key("RENKU_STORE_ROOT", "builds", "build root: a path or a URL"),
    "movie": Key("RENKU_STORE_MOVIE", None, "movie to work on (default: the only one of the root)"),
    "copy": Key(None, None, "another build root with copies of the movies: what `fsck` says to fetch lost files from"),
    "view": Key(None, None, "folder in which each movie's newest revision is kept as plain files"),
    "concurrency": Key(None, "5", "jobs at once in `run`: a number, a share of the processors such as 50%, or auto"),
}


class Setting(Struct, frozen=True):
    """A value in effect and where it comes from; `value` is None where nothing gives one."""

    value: str | None
    source: Source


def config_path() -> Path:
    """The config file, whether it exists or not. A relative XDG_CONFIG_HOME is ignored, as its specification asks."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base and Path(base).is_absolute() else Path.home() / ".config"
    return folder / "renku-store" / "config.toml"


def read_config(path: Path) -> dict[str, object]:
    """The top level of the config file, empty where there is none; `Misuse` says where it cannot be read."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Misuse(
            f"The config file {path} cannot be read: {error.strerror}.", hint="Move it away, or let it be read."
        ) from error
    document: dict[str, object] = load("toml:parsed")(data, path)
    return document


@contextmanager
def used_setting(name: str, given: str | None = None, bad: type[StoreError] = BadInputError) -> Iterator[Setting]:
    """A setting for a block that uses its value: the error of a bad one that the config file gives names that file.

    `bad`: what the value is to blame for.
    """
    found = setting(name, given)
    try:
        yield found
    except bad as error:
        place = f"`{name}` in {config_path()}"
        if found.source == "config file" and place not in error.hint:
            told = f"It is {place}: `renku-store config {name} --unset` removes it."
            error.hint = f"{told} {error.hint}".rstrip()
        raise


def setting(name: str, given: str | None = None) -> Setting:
    """A setting as it is in effect; `given` is what the command line says."""
    key = KEYS[name]
    if given is not None:
        return Setting(given, "command line")
    if key.environment and (value := os.environ.get(key.environment)):
        return Setting(value, "environment")
    path = config_path()
    stored = read_config(path).get(name)
    if isinstance(stored, bool) or not isinstance(stored, str | int | None):
        raise Misuse(f"{name} in {path} is not text.", hint=f"`renku-store config {name} --unset` removes it.")
    if stored not in (None, ""):
        return Setting(str(stored), "config file")
    return Setting(key.default, "default")
