"""`log` and `inspect`: what was published."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click
from msgspec import Struct

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.opening import open_movie
from renku_cli.output import note, print_heading, print_json, print_line, print_table
from renku_cli.quantities import COUNT_MAX
from renku_cli.text import cost, count, shown_value, size
from renku_store import (
    DamageError,
    Manifest,
    ManifestArtefact,
    ManifestInput,
    ManifestStub,
    Movie,
    StoreError,
)


@command("log", "renku-store log", "renku-store log --limit 5 --json")
@click.option("-n", "--limit", type=click.IntRange(1, COUNT_MAX), metavar="N", help="Show the newest N only.")
@click.pass_obj
def log(options: GlobalOptions, limit: int | None) -> None:
    """What each took: producer calls that succeeded, jobs answered by earlier results, and US dollars.

    Where a revision is damaged, those after it are listed, and the error follows; where a tag is, all are listed.
    """
    with open_movie(options) as movie:
        revisions: list[_Logged] = []
        tags, problem = _tags(movie)
        try:
            for entry, digest in islice(movie.manifests.history(), limit):
                revisions.append(_logged(movie, entry, digest, tags.get(entry.revision, [])))
        except DamageError as error:
            problem = error
        if options.as_json:
            print_json([entry.document for entry in revisions])
        else:
            columns = ("revision", "created", "made", "reused", "cost", "hash", "tags", "state")
            print_table(columns, [entry.row for entry in revisions], right=("made", "reused", "cost"))
            if not revisions and problem is None:
                note(f"{movie.id} has no revision yet: `renku-store run` makes one.")
        if problem is not None:
            raise problem


def _tags(movie: Movie) -> tuple[dict[str, list[str]], StoreError | None]:
    """The names of the tags of each revision, of those that can be read, and why the first of the others cannot."""
    readable, problem = movie.tags.readable()
    found: dict[str, list[str]] = {}
    for tag in readable:
        found.setdefault(tag.revision, []).append(tag.name)
    return found, problem


class _Logged(Struct, frozen=True):
    """A revision in the log: as JSON, and as a row."""

    document: dict[str, Any]
    row: tuple[str, ...]


def _logged(movie: Movie, entry: Manifest | ManifestStub, digest: str, tags: list[str]) -> _Logged:
    metrics = entry.metrics
    document = {
        "revision": entry.revision,
        "hash": digest,
        "baseRevision": entry.base_revision,
        "createdAt": entry.created_at,
        "made": metrics.made,
        "reused": metrics.reused,
        "cost": metrics.cost,
        "saved": metrics.saved or 0.0,
        "tags": tags,
        **_state(movie, entry),
    }
    told = "in the trash" if "trashedAt" in document else "expired" if "expired" in document else "-"
    numbers = (str(metrics.made), str(metrics.reused), cost(metrics.cost))
    shown = ", ".join(tags) or "-"
    return _Logged(document, (entry.revision, entry.created_at, *numbers, digest[:12], shown, told))


def _state(movie: Movie, entry: Manifest | ManifestStub) -> dict[str, Any]:
    """`trashedAt` for what is in the trash, `expired` for what is gone for good, nothing for the others."""
    if not isinstance(entry, Manifest):
        return {"expired": True}
    mark = movie.manifests.expiry(entry.revision)
    return {"trashedAt": mark.expired_at} if mark is not None else {}


@command("inspect", "renku-store inspect", "renku-store inspect rev-0001 --json")
@click.argument("revision", metavar="[REV]", default="latest", shell_complete=complete("revisions"))
@click.pass_obj
def inspect(options: GlobalOptions, revision: str) -> None:
    """REV is rev-0003, 3, a tag, or latest (the default)."""
    with open_movie(options) as movie:
        manifest, digest = movie.manifests.load_with_hash(revision)
        tags = _tags(movie)[0].get(manifest.revision, [])  # one that cannot be read is a matter for `tag`
        if options.as_json:
            print_json({**_inspected(manifest, digest), "tags": tags, **_state(movie, manifest)})
        else:
            _show(manifest, digest)
            _show_state(movie, manifest, tags)


def _show_state(movie: Movie, manifest: Manifest, tags: list[str]) -> None:
    if tags:
        print_line(f"tagged {', '.join(tags)}")
    mark = movie.manifests.expiry(manifest.revision)
    if mark is not None:
        print_line(f"in the trash since {mark.expired_at}: {mark.why}")


def _bytes_of(manifest: Manifest) -> int:
    return sum(artefact.size for artefact in manifest.artefacts.values())


def _inspected(manifest: Manifest, digest: str) -> dict[str, Any]:
    document = manifest.to_json()
    document.pop("pages", None)
    return {**document, "hash": digest, "bytes": _bytes_of(manifest)}


def _show(manifest: Manifest, digest: str) -> None:
    base = f" on {manifest.base_revision}" if manifest.base_revision else ""
    metrics = manifest.metrics
    print_heading(f"{manifest.movie} {manifest.revision}{base}")
    print_line(f"created {manifest.created_at} by run {manifest.run}")
    print_line(f"hash {digest}")
    saved = f", {cost(metrics.saved)} saved" if metrics.saved else ""
    print_line(
        f"made {metrics.made}, reused {metrics.reused}, {cost(metrics.cost)}{saved}; {size(_bytes_of(manifest))}"
    )
    print_heading(f"\n{count(len(manifest.inputs), 'input')}".lstrip("\n"))
    print_table(("input", "value", "hash"), [(k, shown_input(v), v.hash[:12]) for k, v in manifest.inputs.items()])
    print_heading(count(len(manifest.artefacts), "artefact"))
    if older := sum(artefact.outdated is True for artefact in manifest.artefacts.values()):
        print_line(f"{count(older, 'artefact')} outdated: kept as made from other inputs than these")
    rows = [(k, v.mime_type, size(v.size), _maker(v), v.hash[:12]) for k, v in manifest.artefacts.items()]
    print_table(("artefact", "type", "size", "made by", "hash"), rows, right=("size",))


def shown_input(entry: ManifestInput) -> str:
    """An input's value in a table; one that is a blob is too long to be shown."""
    return f"(blob {entry.blob[:12]})" if entry.blob else shown_value(entry.value)


def _maker(artefact: ManifestArtefact) -> str:
    if artefact.edited_by:
        return f"{artefact.edited_by} (edited)"
    return f"{artefact.job or artefact.produced_by or '-'}{' (outdated)' if artefact.outdated else ''}"
