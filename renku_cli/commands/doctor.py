"""`doctor`: what this machine, this installation and the build root can do."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from typing import Final

import click

from renku_cli.grammar import GlobalOptions, command
from renku_cli.opening import root_of
from renku_cli.output import print_heading, print_json, print_line, print_table, styled
from renku_cli.probes import Check, check_report, check_root
from renku_cli.text import count
from renku_store import ProbeReport, StoreError, __version__, open_store, probe_root

UNSAFE: Final = 5
SQLITE_MIN: Final = (3, 51, 3)
"""Older ones can corrupt a database when its write-ahead log is reset."""
_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red"}
_REQUIREMENT: Final = re.compile(r"""([A-Za-z0-9][A-Za-z0-9._-]*)(?:.*;.*extra == ["']([^"']+)["'])?""")


@command("doctor", "renku-store doctor", "renku-store --root /mnt/videos/builds doctor --json")
@click.pass_obj
def doctor(options: GlobalOptions) -> int:
    """Exit code 5 says that a store here would be unsafe or cannot be reached; a warning alone is 0."""
    root = root_of(options)
    needed, extras = _requirements()
    versions = {"python": platform.python_version(), "renku-store": __version__, **_versions(needed)}
    missing = {extra: [name for name in names if not _version(name)] for extra, names in extras.items()}
    report, checks = _looked_at(root)
    checks = [_sqlite(), *checks]
    if not any(check.status == "failed" for check in checks):
        checks += _driver(root)
    failed = any(check.status == "failed" for check in checks)
    if options.as_json:
        print_json(
            {
                "ok": not failed,
                "root": report.url if report else _shown(root),
                "probe": None if report is None else _told(report),
                "checks": [{"name": c.name, "status": c.status, "detail": c.detail} for c in checks],
                "versions": versions,
                "extras": {name: {"installed": not gone, "missing": gone} for name, gone in missing.items()},
            }
        )
    else:
        _show(checks, versions, missing)
    return UNSAFE if failed else 0


def _looked_at(root: str) -> tuple[ProbeReport | None, list[Check]]:
    """What is found about a root, and what its probe has found where it is no folder."""
    if "://" not in root:
        return None, [*check_root(root)]
    try:
        report = probe_root(root)
    except StoreError as error:
        return None, [Check("root", "failed", " ".join(filter(None, (error.message, error.hint))))]
    if "://" not in report.url:
        return None, [*check_root(report.url)]
    return report, [*check_report(report)]


def _shown(root: str) -> str:
    """A root of which nothing could be made, without what may be credentials in a URL."""
    scheme, mark, rest = root.partition("://")
    return f"{scheme}{mark}{'...' if '@' in rest else rest.partition('?')[0]}" if mark else root


def _told(report: ProbeReport) -> dict[str, object]:
    return {
        "url": report.url,
        "via": report.via,
        "safe": report.safe,
        "denied": report.denied,
        "missing": report.missing,
        "weaker": report.weaker,
        "guarantees": {
            "atomicCreate": report.guarantees.atomic_create,
            "compareAndSwap": report.guarantees.compare_and_swap,
            "strongListing": report.guarantees.strong_listing,
            "sharedIndex": report.guarantees.shared_index,
            "links": report.guarantees.links,
            "freeSpace": report.guarantees.free_space,
        },
        "writeSeconds": report.write_seconds,
        "readSeconds": report.read_seconds,
        "freeBytes": report.free_bytes,
        "workspace": None if report.workspace is None else str(report.workspace),
        "cache": None if report.cache is None else _cache(report),
    }


def _cache(report: ProbeReport) -> dict[str, object]:
    return {
        "folder": str(report.cache),
        "usedBytes": report.cache_used_bytes,
        "maxBytes": report.cache_max_bytes,
    }


def _show(checks: list[Check], versions: dict[str, str | None], missing: dict[str, list[str]]) -> None:
    print_table(
        ("check", "result", "detail"), [(c.name, styled(c.status, _STYLES[c.status]), c.detail) for c in checks]
    )
    print_heading("Versions")
    print_table(("package", "version"), [(name, version or "missing") for name, version in versions.items()])
    for extra, names in missing.items():
        told = f"missing {', '.join(names)}: pip install 'renku-store[{extra}]'" if names else "installed"
        print_line(f"extra {extra}: {told}")


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The packages that the project needs, and those of each extra, as its own metadata names them."""
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("renku-store") or []:
        if match := _REQUIREMENT.match(requirement):
            name, extra = match.groups()
            (extras.setdefault(extra, []) if extra else needed).append(name)
    return needed, extras


def _versions(names: list[str]) -> dict[str, str | None]:
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _sqlite() -> Check:
    """SQLite comes with apsw, whose version begins with that of its SQLite."""
    version = _version("apsw") or "0"
    parts = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    shown = ".".join(map(str, parts))
    if parts < SQLITE_MIN:
        return Check("sqlite", "failed", f"SQLite {shown} is too old: install apsw 3.51.3 or newer.")
    return Check("sqlite", "ok", f"SQLite {shown}, with apsw.")


def _driver(root: str) -> list[Check]:
    """What the store's own driver says of a root that exists; one that cannot be opened is a failure."""
    try:
        with open_store(root) as store:
            movies = store.ids()
            return [Check("store", "ok", f"{store.root} can be opened; it holds {count(len(movies), 'movie')}.")]
    except StoreError as error:
        return [Check("store", "failed", error.message)]
