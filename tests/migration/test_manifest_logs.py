"""The first manifest-centric layout: logs, manifests and blobs named by SHA-256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random

from renku_store import ArtefactEvent, Store, migrate, movie_status, plan_movie
from renku_store.testing.old_folders import build_manifest_logs


def test_the_graph_is_that_of_the_plans(tmp_path: Path, store: Store) -> None:
    """Jobs, providers and models are those that the plans list; what nobody has is left out of what they read."""
    build_manifest_logs(tmp_path / "film", Random(1), segments=2, revisions=1)
    assert migrate(tmp_path / "film", store).whole
    nodes = {node.job_id: node for node in plan_movie(store.movie("film")).graph.nodes}
    assert nodes.keys() == {"Producer:Script", "Producer:Audio[0]", "Producer:Audio[1]", "imported"}
    audio = nodes["Producer:Audio[1]"]
    assert (audio.producer, audio.provider, audio.provider_model) == ("AudioProducer", "elevenlabs", "m")
    assert [entry.ref.id for entry in audio.inputs if entry.ref] == ["Artifact:Script"]


def test_old_hashes_are_kept(tmp_path: Path, store: Store) -> None:
    """Those of inputs, artefacts and of the manifest itself."""
    build_manifest_logs(tmp_path / "film", Random(1), revisions=1)
    migrate(tmp_path / "film", store)
    movie = store.movie("film")
    manifest, _ = movie.manifests.load_current()
    held = manifest.artefacts["Artifact:Audio[0]"]
    assert held.legacy_hash == hashlib.sha256(movie.read(held)).hexdigest()
    assert manifest.inputs["Input:Topic"].legacy_hash is not None
    step = next(event for event in movie.events.stream() if event.type == "run" and event.kind == "migrated")
    raw = (tmp_path / "film" / "manifests" / "rev-0001.json").read_bytes()
    assert step.data["legacyHash"] == hashlib.sha256(raw).hexdigest()


def test_a_blob_with_other_bytes_is_missing(tmp_path: Path, store: Store) -> None:
    """Its name promises the SHA-256 of its bytes: what is not that is damage, and named; the rest comes along."""
    build_manifest_logs(tmp_path / "film", Random(1), segments=2, revisions=1)
    victim = min((tmp_path / "film" / "blobs").rglob("*.mp3"))
    victim.write_bytes(b"damaged")
    (report,) = migrate(tmp_path / "film", store).movies
    (lost,) = report.missing
    assert lost.path == victim.relative_to(tmp_path / "film").as_posix()
    assert "SHA-256" in lost.why
    manifest, _ = store.movie("film").manifests.load_current()
    assert len(manifest.artefacts) == 3
    (again,) = migrate(tmp_path / "film", store).movies
    assert (again.added, [item.artefact for item in again.missing]) == (0, [lost.artefact])


def test_a_persons_version_has_what_was_made_under_it(tmp_path: Path, store: Store) -> None:
    """An edited artefact stands, and undoing the edit brings the producer's own back."""
    expected = build_manifest_logs(tmp_path / "film", Random(3), revisions=1, edited=True)
    migrate(tmp_path / "film", store)
    movie = store.movie("film")
    held = movie.artefact("Artifact:Audio[0]")
    assert held.edited_by == "user"
    assert held.made is not None
    assert movie.read(held) == expected.revisions[0].artefacts["Artifact:Audio[0]"]
    assert held.made.hash != held.hash


def test_rotated_logs_are_read(tmp_path: Path, store: Store) -> None:
    """What was moved out of a log after a revision is history like the rest."""
    build_manifest_logs(tmp_path / "film", Random(1), segments=1, revisions=2)
    events = tmp_path / "film" / "events"
    lines = (events / "inputs.log").read_text().splitlines(keepends=True)
    (events / "rev-0001.inputs.jsonl").write_text(lines[0])
    (events / "inputs.log").write_text("".join(lines[1:]))
    migrate(tmp_path / "film", store)
    movie = store.movie("film")
    values = [event for event in movie.events.stream_inputs() if event.input == "Input:Topic"]
    assert [json.loads(line)["payload"] for line in lines] == [movie.events.read_value(event) for event in values]


def test_a_log_without_manifests_is_a_movie_that_was_not_finished(tmp_path: Path, store: Store) -> None:
    """Inputs are pending, results are an abandoned run's; nothing is published."""
    build_manifest_logs(tmp_path / "film", Random(1), segments=1, revisions=1)
    (tmp_path / "film" / "manifests" / "rev-0001.json").unlink()
    (report,) = migrate(tmp_path / "film", store).movies
    assert (report.revisions, report.whole) == (0, True)
    movie = store.movie("film")
    assert [event.type for event in movie_status(movie).pending] == ["input"]
    events = [event for event in movie.events.stream_artefacts() if isinstance(event, ArtefactEvent)]
    (made,) = [event for event in events if event.status == "succeeded"]
    assert [event.status for event in events if event is not made] == ["chosen"]  # so that no collection takes it
    assert made.value is not None
    assert made.cost == 0.5


def test_paths_in_place_of_hashes_are_refused(tmp_path: Path, store: Store) -> None:
    """A hash that is no hash leads nowhere outside."""
    build_manifest_logs(tmp_path / "film", Random(1), segments=1, revisions=1)
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / "film" / "manifests" / "rev-0001.json"
    manifest = json.loads(path.read_text())
    manifest["artefacts"]["Artifact:Audio[0]"]["blob"]["hash"] = "../../secret"
    path.write_text(json.dumps(manifest))
    (report,) = migrate(tmp_path / "film", store).movies
    assert [item.path for item in report.refused] == ["blob ../../secret"]


def test_a_manifest_that_says_nothing_is_told_of(tmp_path: Path, store: Store) -> None:
    """An empty object is no revision, and the report names it."""
    build_manifest_logs(tmp_path / "film", Random(1), revisions=1)
    (tmp_path / "film" / "manifests" / "rev-0002.json").write_text("{}")
    (report,) = migrate(tmp_path / "film", store).movies
    assert [item.path for item in report.missing] == ["manifests/rev-0002.json"]
    assert report.revisions == 1
