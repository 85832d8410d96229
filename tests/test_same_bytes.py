"""What is published does not tell where it was published: the same build has the same bytes in every kind of root."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from renku_store import Movie, edit_artefact, open_store, rollback, run_movie, set_inputs
from renku_store.drivers.base import Driver
from tests.authoring import LONG, publish
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

OF_A_RUN = {"run", "archive", "createdAt", "metrics", "baseHash"}
"""What of a manifest says which run made it, and when; the hash of the base changes with those of the base."""


class Standing:
    """A clock that stands."""

    def now(self) -> datetime:
        return datetime(2026, 5, 1, 12, 30, tzinfo=UTC)

    def monotonic(self) -> float:
        return 1.0


def chance() -> Callable[[int], bytes]:
    """What `os.urandom` becomes: ids take 10 bytes or 4 for each; names that not all roots need take 5 or 16."""
    ids, names = Random(7), Random(8)
    return lambda count: (names if count in {5, 16} else ids).randbytes(count)


def published(driver: Driver) -> dict[str, bytes]:
    """Everything that other programs read."""
    parts = ("manifests/", "blobs/", "tags/")
    objects = [found.name for part in parts for found in driver.list(part)]
    return {name: driver.read(name) for name in ["format.json", "current.json", *objects]}


def by_hand(movie: Movie) -> None:
    """Three revisions without a run, the second in pages."""
    publish(movie, {"a.out": "one", "b.out": LONG}, {"voice": "en", "large": LONG, "nothing": None, "half": 0.5})
    publish(movie, {f"many[{number}].out": f"{number}" for number in range(1_100)})
    publish(movie, {"a.out": "two"}, {"voice": "ä"})


def by_runs(movie: Movie) -> None:
    """Runs with a failure and a reuse, an edit by hand, the way back."""
    studio = Studio()
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": [{**SEGMENTS[0], "text": LONG}, *SEGMENTS[1:]]})
    studio.broken = {"film"}
    asyncio.run(run_movie(movie, produce=studio))
    studio.broken = set()
    asyncio.run(run_movie(movie, produce=studio))
    set_inputs(movie, {"voice": "fr"})
    asyncio.run(run_movie(movie, produce=studio))
    edit_artefact(movie, "say[0].audio", b"\x00\x01 by hand" * 900)
    asyncio.run(run_movie(movie, produce=studio))
    assert rollback(movie, "rev-0001") is not None


def test_a_build_by_hand_has_the_same_bytes_everywhere(
    any_root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the clock and the chance fixed that ids are made of: every manifest, page, blob, and the pointer."""
    found: list[dict[str, bytes]] = []
    for root in (tmp_path / "reference", any_root):
        monkeypatch.setattr(os, "urandom", chance())
        with open_store(root, clock=Standing()) as store:
            movie = store.create_movie("film")
            by_hand(movie)
            found.append(published(movie.driver))
    assert len(found[0]) == 10
    assert found[0] == found[1]


def test_a_build_by_runs_is_the_same_everywhere_but_for_who_made_it(any_root: Root, tmp_path: Path) -> None:
    """Content, graph and blobs are equal byte for byte, manifests but for run, archive, times and what it took."""
    told: list[tuple[dict[str, Any], set[str]]] = []
    for root in (tmp_path / "reference", any_root):
        with open_store(root) as store:
            movie = store.create_movie("film")
            by_runs(movie)
            told.append((manifests(movie), {found.name for found in movie.driver.list("blobs/")}))
    assert len(told[0][0]) == 4
    assert told[0] == told[1]


def manifests(movie: Movie) -> Mapping[str, Any]:
    """Every revision as a document, without what tells of its run."""
    documents: dict[str, Any] = {}
    for manifest, _ in movie.manifests.revisions():
        document = json.loads(movie.driver.read(f"manifests/{manifest.revision}.json"))
        for key in OF_A_RUN:
            document.pop(key, None)
        documents[manifest.revision] = document
    return documents
