"""A movie in revision folders, made at random: what the system wrote before there were manifests."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from random import Random

from renku_store.testing.old_folders.expectations import ExpectedMovie
from renku_store.testing.old_folders.making import FolderInMaking
from renku_store.testing.old_folders.spoiling import prune, spoil


def build_revision_folder(
    path: Path,
    random: Random,
    *,
    segments: int = 2,
    images: int = 2,
    revisions: int = 3,
    changes: float = 0.3,
    irregularities: Collection[str] = (),
) -> ExpectedMovie:
    """Make a movie of so many segments, each with images, and revisions, and say what a migration has to give.

    The first revision is a full one; the others make about as much of it anew as `changes` says, from 0 to 1. The same
    arguments make the same folder.
    """
    folder = FolderInMaking(path, random, irregularities, segments, images, ExpectedMovie(path.name))
    path.mkdir(parents=True)
    numbers = _numbers(random, revisions, gaps="gaps" in irregularities)
    consolidated = numbers[-1] if {"consolidated", "half-consolidated"} & {*irregularities} else None
    for rev in numbers:
        _one_revision(folder, rev, changes=changes, consolidate=rev == consolidated and rev != numbers[0])
    if "pruned" in irregularities and consolidated is not None:
        prune(folder, consolidated)
    spoil(folder)
    _finish(folder, numbers)
    return folder.movie


def _numbers(random: Random, revisions: int, *, gaps: bool) -> list[int]:
    numbers = [0]
    while len(numbers) < revisions:
        numbers.append(numbers[-1] + (random.choice([1, 2, 5]) if gaps else 1))
    return numbers


def _one_revision(folder: FolderInMaking, rev: int, *, changes: float, consolidate: bool) -> None:
    random = folder.random
    everything = [*folder.texts(), *folder.files()]
    first = not folder.made
    if first or random.random() < 0.6:
        folder.edit(rev, "narration_config", {"voice": random.choice(["deep", "high"]), "speed": random.random()})
    if first:
        folder.edit(rev, "inquiry_prompt", "The civil war")
        folder.edit(rev, "notes", ["n" * random.choice([1, 3_000]), None, 1.5])
    for artefact in everything:
        if first or random.random() < changes:
            folder.make(rev, artefact)
    failed = "failed" in folder.odd and not first
    if failed:
        folder.fail(rev, random.choice(list(folder.files())))
    if consolidate:
        folder.consolidate(rev)
    folder.snapshot(rev, "failed" if failed else "succeeded")


def _finish(folder: FolderInMaking, numbers: list[int]) -> None:
    folder.write(
        "metadata.json",
        {
            "movie_id": folder.movie.id,
            "status": "succeeded",
            "latest_revision": numbers[-1],
            "active_assets_prefix": folder.active,
            "oldest_kept_rev": 0,
            "total_size_gb": 0.1,
            "created_at": "2025-10-01T00:00:00Z",
            "updated_at": "2025-10-28T00:00:00Z",
        },
    )
    folder.write("configuration.json", {"general": {"duration": "30"}, "narration": folder.inputs["narration_config"]})
    folder.write("dag/producers.json", folder.declared())
    folder.write_lines("dag/inputSources.jsonl", folder.edits)
    folder.write_lines("dag/artifacts.jsonl", folder.lines)
    folder.write("dag/plans/rev0-plan.json", {"layers": []})
