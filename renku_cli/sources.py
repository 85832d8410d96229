"""Files that a person names on the command line, read with errors that name them."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

import renku_store
from renku_store import InvalidValueError, Json, NotFoundError, StoreUnavailableError


def read_bytes(path: str) -> bytes:
    """A whole file; `-` is standard input. `NotFoundError` and `StoreUnavailableError` name the file."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no file {path}.", hint="Check the path.") from error
    except IsADirectoryError as error:
        raise InvalidValueError(f"{path} is a folder, not a file.", hint="Name a file.") from error
    except ValueError as error:
        raise InvalidValueError(f"{path!a} cannot be the name of a file.") from error
    except OSError as error:
        raise StoreUnavailableError(f"The file {path} cannot be read: {error.strerror}.") from error


def read_text(path: str) -> str:
    """A whole file as text in UTF-8; a byte order mark is dropped."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"{path} is not text in UTF-8: byte {error.start} cannot be.", hint="Save it as UTF-8."
        ) from error


def read_json(path: str) -> Json:
    """A JSON file."""
    try:
        document: Json = orjson.loads(read_bytes(path))
    except orjson.JSONDecodeError as error:
        raise InvalidValueError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        ) from error
    return document


def read_mapping(path: str) -> dict[str, Json]:
    """A YAML or JSON file that maps input ids to values, read by the rules of blueprints."""
    return renku_store.load_yaml_mapping(read_text(path), path)
