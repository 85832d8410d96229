"""The figures of a migration: what came along, what did not, and what it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from renku_store import bounds
from renku_store.blobs.presence import see_all
from renku_store.errors import MigrationError
from renku_store.manifests import ManifestStore
from renku_store.migration.described import Content, FileContent, OldMovie, OldProblem
from renku_store.migration.folder import OldFolder
from renku_store.migration.identity import published_runs, run_of
from renku_store.migration.reports import MigratedPath, MovieMigration, UnmigratedItem
from renku_store.movie import Movie
from renku_store.records.manifest import ManifestStub

_GONE_THEN: Final = "It could not be read when the revision was migrated; under another id (--movie) it may come along."
"""A revision that is published never changes."""


def note_problems(problems: Iterable[OldProblem], report: MovieMigration) -> None:
    """Let the report have what could not be read."""
    for problem in problems:
        item = UnmigratedItem(problem.what, problem.why, problem.revision, problem.artefact)
        {"missing": report.missing, "refused": report.refused, "torn": report.torn}[problem.kind].append(item)


def count_published(old: OldMovie, movie: Movie, report: MovieMigration) -> None:
    """Count what the new movie holds of the old revisions, by its manifests."""
    published = published_runs(ManifestStore(movie.driver, movie.blobs.read))
    blobs: set[str] = set()
    sizes: dict[str, int] = {}
    inline: dict[str, int] = {}
    noted = {(item.revision, item.artefact) for item in [*report.missing, *report.refused]}
    for revision in old.revisions:
        name = published.get(run_of(old, revision))
        if name is None:
            continue
        report.mapped[revision.name] = name
        report.revisions += 1
        manifest, _ = movie.manifests.entry(name)
        if isinstance(manifest, ManifestStub):
            continue
        for held in manifest.artefacts.values():
            report.bytes.named += held.size
            sizes[held.hash] = held.size
            if held.blob is not None:
                blobs.add(held.blob)
            else:
                inline[held.hash] = held.size
        report.artefacts += len(manifest.artefacts)
        for key, artefact in revision.artefacts.items():
            if key not in manifest.artefacts and (revision.name, key) not in noted:
                path = artefact.content.path if isinstance(artefact.content, FileContent) else f"artefact {key}"
                report.missing.append(UnmigratedItem(path, _GONE_THEN, revision.name, key))
    report.bytes.folder = old.size
    report.bytes.content = sum(sizes.values())
    report.bytes.stored = _stored(movie, sorted(blobs)) + sum(inline.values())
    report.paths = _paths(old, report.mapped)


def _stored(movie: Movie, digests: Sequence[str]) -> int:
    """The bytes that blobs take as they are stored; nothing for those that are not there."""
    total = 0
    for start in range(0, len(digests), bounds.EVENT_PAGE_ROWS):
        page = digests[start : start + bounds.EVENT_PAGE_ROWS]
        with movie.metadata.read() as reader:
            rows = reader.blobs.get(page)
        total += sum(found.stored_size for found in see_all(movie.driver, dict.fromkeys(page), rows).values())
    return total


def count_planned(folder: OldFolder, old: OldMovie, report: MovieMigration) -> None:
    """Count what a migration would bring over, by what the old layout says."""
    contents: dict[Content, None] = {}
    for revision in old.revisions:
        report.revisions += 1
        report.artefacts += len(revision.artefacts)
        for artefact in revision.artefacts.values():
            report.bytes.named += _size(artefact.content)
            contents[artefact.content] = None
    report.bytes.folder = old.size
    report.bytes.content = report.bytes.stored = _differing(folder, contents)
    report.paths = _paths(old, report.mapped)


def _size(content: Content) -> int:
    return content.size if isinstance(content, FileContent) else len(content.data)


def _differing(folder: OldFolder, contents: Iterable[Content]) -> int:
    """The bytes of those contents that differ; only files of one size can be the same, and are read."""
    by_size: dict[int, list[Content]] = {}
    for content in contents:
        by_size.setdefault(_size(content), []).append(content)
    total = 0
    for size, alike in by_size.items():
        total += size * (len({_digest(folder, content) for content in alike}) if len(alike) > 1 else 1)
    return total


def _digest(folder: OldFolder, content: Content) -> bytes:
    hasher = hashlib.sha256()
    if not isinstance(content, FileContent):
        hasher.update(content.data)
        return hasher.digest()
    try:
        with folder.open(content.path) as file:
            while chunk := file.read(bounds.CHUNK_BYTES):
                hasher.update(chunk)
    except (MigrationError, OSError):
        return content.path.encode()
    return hasher.digest()


def _paths(old: OldMovie, mapped: dict[str, str]) -> list[MigratedPath]:
    """Which artefact stands for every path that the old layout named."""
    found: dict[tuple[str, str], list[str]] = {}
    for revision in old.revisions:
        for artefact in revision.artefacts.values():
            if artefact.path is not None and revision.name in mapped:
                found.setdefault((artefact.path, artefact.id), []).append(mapped[revision.name])
    return [MigratedPath(path, artefact, revisions) for (path, artefact), revisions in sorted(found.items())]
