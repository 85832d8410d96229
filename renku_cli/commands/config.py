"""`config`: settings in effect, where each comes from, and changing what the config file says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.limiting import SECTIONS, shown_sections
from renku_cli.misuse import Misuse, nearest
from renku_cli.output import note, print_json, print_line, print_table
from renku_cli.settings import KEYS, Setting, Source, config_path, read_config, setting
from renku_store import check_movie_id, resolve_concurrency


@command(
    "config",
    "renku-store config",
    "renku-store config root ~/videos/builds",
    "renku-store config concurrency 50%",
    "renku-store config view=~/films",
    "renku-store config movie --unset",
)
@click.argument("key", required=False, shell_complete=complete("keys"))
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Remove KEY from the config file.")
@click.pass_obj
def config(options: GlobalOptions, key: str | None, value: str | None, unset: bool) -> None:
    """Keys are root, movie, copy, view and concurrency. The command line and the environment go before the config file.

    Limits of calls and retries are the sections [limits.KEY] and [retry] of that file.

    With a KEY: its value in effect. With a VALUE, or as KEY=VALUE: writes it into
    $XDG_CONFIG_HOME/renku-store/config.toml (~/.config/... where that is not set), keeping comments and order.
    """
    if key is None:
        if unset:
            raise Misuse("--unset needs a KEY.", hint=f"Keys are {', '.join(KEYS)}.")
        _show_all(options)
        return
    if value is None and key.partition("=")[0] in KEYS:
        key, given, rest = key.partition("=")
        value = rest if given else None
    if key in SECTIONS:
        raise Misuse(f"{key} is a section of {config_path()}.", hint="Edit the file; `renku-store config` shows it.")
    if key not in KEYS:
        raise Misuse(f"There is no setting {key!r}.", hint=nearest(key, KEYS, otherwise=f"Keys are {', '.join(KEYS)}."))
    if unset and value is not None:
        raise Misuse("A VALUE and --unset contradict each other.", hint="Give one of them.")
    if unset or value is not None:
        _change(key, value)
    _show_one(options, key, changed=unset or value is not None)


def _in_effect(options: GlobalOptions, key: str) -> Setting:
    return setting(key, {"root": options.root, "movie": options.movie}.get(key))


def _show_all(options: GlobalOptions) -> None:
    path = config_path()
    found = {key: _in_effect(options, key) for key in KEYS}
    sections = shown_sections()
    for name in read_config(path).keys() - KEYS.keys() - set(SECTIONS):
        note(f"warning: {path} has a key {name!r} that means nothing. {nearest(name, KEYS)}")
    if options.as_json:
        settings = {key: {"value": entry.value, "source": entry.source} for key, entry in found.items()}
        limits, retry = sections["limits"], sections["retry"][""]
        print_json({"file": str(path), "settings": settings, "limits": limits, "retry": retry})
        return
    rows = [(key, entry.value or "-", entry.source, KEYS[key].meaning) for key, entry in found.items()]
    rows += _section_rows(path, sections)
    print_table(("key", "value", "from", "meaning"), rows)


def _section_rows(
    path: Path, sections: Mapping[str, Mapping[str, Mapping[str, str | int]]]
) -> list[tuple[str, str, Source, str]]:
    """What the sections say, one row for each key of limits and one for retries."""
    rows: list[tuple[str, str, Source, str]] = []
    for key, entries in sections["limits"].items():
        told = ", ".join(f"{name} {entry}" for name, entry in entries.items())
        rows.append((f"limits.{key}", told or "-", "config file", "limits of calls of this key"))
    told = ", ".join(f"{name} {entry}" for name, entry in sections["retry"][""].items())
    source: Source = "config file" if "retry" in read_config(path) else "default"
    return [*rows, ("retry", told, source, "when a call is tried again")]


def _show_one(options: GlobalOptions, key: str, *, changed: bool) -> None:
    found = _in_effect(options, key)
    if options.as_json:
        print_json({"key": key, "value": found.value, "source": found.source, "file": str(config_path())})
    elif not changed:
        print_line(found.value or "")
    elif found.source in {"command line", "environment"}:
        print_line(f"Written to {config_path()}; the {found.source} says {found.value} and goes before it.")
    else:
        print_line(f"{key} is {found.value or 'not set'} ({found.source}).")


def _change(key: str, value: str | None) -> None:
    if value is not None:
        _check(key, value)
    path = config_path()
    read_config(path)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
        if value is None:
            document.pop(key, None)
        else:
            document[key] = _written(key, value)
        _replace(path, tomlkit.dumps(document))
    except (OSError, TOMLKitError) as error:
        raise Misuse(
            f"The config file {path} cannot be written: {error}",
            hint="XDG_CONFIG_HOME says in which folder it is.",
        ) from error


def _check(key: str, value: str) -> None:
    if not value:
        raise Misuse(f"{key} may not be empty.", hint=f"`renku-store config {key} --unset` removes it.")
    if key == "movie":
        check_movie_id(value)
    if key == "concurrency":
        resolve_concurrency(value)
    if key == "view" and "://" in value:
        raise Misuse("A view is a folder of this machine, not a URL.", hint="`renku-store config view=films`")


def _written(key: str, value: str) -> str:
    """A value as the file has it: a view stays where it is, wherever the program is called."""
    return str(Path(value).expanduser().absolute()) if key == "view" else value


def _replace(path: Path, text: str) -> None:
    """Write the whole file beside its place, then rename; a link to the file of a dotfiles folder stays a link."""
    place = path.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".config-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(place)
    finally:
        Path(name).unlink(missing_ok=True)
