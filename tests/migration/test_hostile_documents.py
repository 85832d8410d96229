"""Documents of old folders that say anything at all: whatever it is, a report tells of it, and the movie is sound."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import Store, forget_memory, migrate, open_store
from renku_store.testing.invariants import check_invariants
from renku_store.testing.old_folders import build_manifest_logs, build_revision_folder
from tests.migration.checking import Old

HOSTILE: list[Any] = [
    None, True, 0, -1, 1.5, 1e308, 2**53, 10**30, "", "x", "a" * 5000, "assets/", "assets/rev0", "\0", "\n", "..",
    "assets/rev0/../../..", "./assets/current/", "../x", "/etc/passwd", "@blueprint", "timeline", "a/b", "é" * 300,
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2025-10-26T10:00:00", 1e11, 4e18, 253402300800,
    [], {}, [[]], [None], {"": None}, {"artefact": "x"}, [1, "x", {}], "rev3", "succeeded", "failed", "producer",
    {"hash": "0" * 64, "size": -1, "mimeType": "a/b"}, {"hash": "0" * 64, "mimeType": "\n"}, 'text/plain; x="',
    {"a": {"b": [1, {"c": "assets/rev0/x"}]}},
]  # fmt: skip


def _spoilt(random: Random, value: Any, share: float) -> Any:
    """The value with some of its parts, and of its keys, replaced by hostile ones, left out, or in another order."""
    if random.random() < share:
        return random.choice(HOSTILE)
    if isinstance(value, dict):
        return {
            random.choice(["", "..", "a/b", "\n", "@x"]) if random.random() < share else key: _spoilt(
                random, item, share
            )
            for key, item in value.items()
            if random.random() >= share / 2
        }
    if isinstance(value, list):
        return [_spoilt(random, item, share) for item in random.sample(value, len(value))]
    return value


def _spoil(film: Path, random: Random, share: float) -> None:
    for path in sorted(film.rglob("*.json")):
        path.write_text(json.dumps(_spoilt(random, json.loads(path.read_text()), share)))
    for path in sorted([*film.rglob("*.jsonl"), *film.rglob("*.log")]):
        lines = [_spoilt(random, json.loads(line), share) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@settings(max_examples=max(20, settings.default.max_examples // 3))
@given(st.integers(0, 2**32), st.sampled_from([0.003, 0.01, 0.05, 0.2]), st.booleans())
def test_whatever_documents_say_a_sound_movie_comes_of_it(seed: int, share: float, folders: bool) -> None:
    """No document raises anything; invariants hold, a dry run foretells the revisions, a second call adds nothing."""
    random = Random(seed)
    with TemporaryDirectory() as name:
        film = Path(name) / "film"
        if folders:
            build_revision_folder(film, random, segments=1, images=1, revisions=2)
        else:
            build_manifest_logs(film, random, segments=1, revisions=2, edited=True)
        _spoil(film, random, share)
        with open_store("memory://hostile") as store:
            (planned,) = migrate(film, store, movie="film", dry_run=True).movies
            (report,) = migrate(film, store, movie="film").movies
            assert report.problem is None
            assert planned.mapped == report.mapped
            check_invariants(store.movie("film"))
            (again,) = migrate(film, store, movie="film").movies
            assert {**again.to_json(), "added": report.added} == report.to_json()
            assert again.added == 0
        forget_memory("memory://hostile")


@pytest.mark.parametrize("depth", [90, 250, 450, 990, 100_000])
@pytest.mark.parametrize("form", ["[]", "{}"])
def test_documents_that_nest_deeply_are_kept_or_named(depth: int, form: str, old: Old, store: Store) -> None:
    """Wherever it stands: in a text, an input, a job record, a timeline, remarks, the configuration."""
    opening = "[" if form == "[]" else '{"a":'
    deep = opening * depth + '"assets/rev0/x"' + form[1] * depth
    old.artefact("text", 0, content="words")
    old.append("dag/artifacts.jsonl", f'{{"id": "deep", "rev": 0, "status": "succeeded", "content": {deep}}}\n')
    old.append("dag/inputSources.jsonl", f'{{"id": "given", "rev": 0, "content": {deep}}}\n')
    old.put("dag/jobs/one-rev0.json", f'{{"jobId": "one", "said": {deep}}}'.encode())
    old.put("configuration.json", f'{{"deep": {deep}}}'.encode())
    old.snapshot(0, "text", "deep", inputs=("given",))
    old.snapshot(1, "text")
    path = old.path / "dag/snapshots/rev1.json"
    path.write_text(path.read_text().replace('"changed_since_prev": []', f'"changed_since_prev": [{deep}]'))
    old.snapshot(2, "text")
    path = old.path / "dag/snapshots/rev2.json"
    path.write_text(path.read_text().replace('"timeline": null', f'"timeline": {{"tracks": {deep}}}'))
    (report,) = migrate(old.path, store).movies
    assert report.problem is None
    manifest = store.movie("film").manifests.load("rev-0001")
    assert store.movie("film").read(manifest.artefacts["text"]) == b"words"
    told = [item.path for item in [*report.missing, *report.refused, *report.torn]]
    kept = "deep" in manifest.artefacts
    assert kept is (depth < 100)
    assert any("job" in path for path in told) is not kept
    check_invariants(store.movie("film"))


def test_times_beyond_the_calendar_are_no_times(old: Old, store: Store) -> None:
    """What has none has that of the movie."""
    for rev, when in enumerate(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]):
        old.artefact("text", rev, content=f"words {rev}", created_at=when)
        old.snapshot(rev, "text", created_at=when)
    (report,) = migrate(old.path, store).movies
    assert report.whole
    created = [manifest.created_at for manifest, _ in store.movie("film").manifests.revisions()]
    assert created == ["2025-10-26T10:00:00.000Z"] * 2
