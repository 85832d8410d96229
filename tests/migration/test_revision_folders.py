"""The layout of revision folders, sentence by sentence, migrated from folders written by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from renku_store import (
    ArtefactEvent,
    InputEvent,
    Manifest,
    Movie,
    MovieMigration,
    RunEvent,
    Store,
    diff_revisions,
    migrate,
    movie_stats,
    movie_status,
    plan_movie,
    rollback,
)
from renku_store.testing.invariants import check_invariants
from tests.migration.checking import STAMP, Old, paths_left


def migrated(old: Old, store: Store) -> tuple[MovieMigration, Movie]:
    """The report of a migration, and the movie."""
    report = migrate(old.path, store)
    (one,) = report.movies
    if one.problem is not None:
        raise one.problem
    return one, store.movie(one.id)


def bytes_of(movie: Movie, revision: str) -> dict[str, bytes]:
    """All artefacts of a revision."""
    return {key: movie.read(held) for key, held in movie.manifests.load(revision).artefacts.items()}


def newest(movie: Movie) -> Manifest:
    """The newest revision."""
    return movie.manifests.load_current()[0]


def test_numbers_with_gaps_become_a_chain_and_the_mapping_is_kept(old: Old, store: Store) -> None:
    """Old revisions 0, 3 and 7 are 1, 2 and 3 here; the report and the movie itself say which is which."""
    for rev in (7, 0, 3):
        old.artefact("text", rev, content=f"text {rev}")
        old.snapshot(rev, "text")
    report, movie = migrated(old, store)
    assert report.mapped == {"rev0": "rev-0001", "rev3": "rev-0002", "rev7": "rev-0003"}
    assert [bytes_of(movie, name)["text"] for name in report.mapped.values()] == [b"text 0", b"text 3", b"text 7"]
    steps = [event for event in movie.events.stream() if isinstance(event, RunEvent) and event.kind == "migrated"]
    assert [(step.data["from"], step.data["movie"]) for step in steps] == [(f"rev{n}", "film") for n in (0, 3, 7)]


def test_a_snapshot_names_artefacts_that_earlier_revisions_made(old: Old, store: Store) -> None:
    """The newest line that is not above the snapshot tells the path, in whichever folder that lies."""
    old.put("assets/rev0/music/a.mp3", b"zero")
    old.put("assets/rev2/music/a.mp3", b"two")
    old.artefact("music", 0, "assets/rev0/music/a.mp3")
    old.artefact("music", 2, "assets/rev2/music/a.mp3")
    for rev in (0, 1, 2, 3):
        old.snapshot(rev, "music")
    report, movie = migrated(old, store)
    assert [bytes_of(movie, name)["music"] for name in report.mapped.values()] == [b"zero", b"zero", b"two", b"two"]
    assert newest(movie).artefacts["music"].mime_type == "audio/mpeg"
    assert report.whole


def test_the_same_file_in_several_revisions_is_one_blob(old: Old, store: Store) -> None:
    """A consolidated copy of a file takes no more space, and the report says how much is saved."""
    data = os.urandom(50_000)
    for rev in range(4):
        old.put(f"assets/rev{rev}/music/a.mp3", data)
        old.artefact("music", rev, f"assets/rev{rev}/music/a.mp3")
        old.snapshot(rev, "music")
    report, movie = migrated(old, store)
    assert len({manifest.artefacts["music"].hash for manifest, _ in movie.manifests.revisions()}) == 1
    assert report.bytes.named == 200_000
    assert report.bytes.content == report.bytes.stored == 50_000
    assert report.bytes.saved == 150_000
    assert report.bytes.folder > 200_000


def test_a_consolidation_that_died_half_way_is_read(old: Old, store: Store) -> None:
    """Lines that name `rev3` find their files in `rev3_cons`, and a snapshot of that name is read."""
    old.put("assets/rev3_cons/music/a.mp3", b"music")
    old.artefact("music", 3, "assets/rev3/music/a.mp3")
    old.snapshot(3, "music", file="rev3_cons")
    report, movie = migrated(old, store)
    assert report.mapped == {"rev3": "rev-0001"}
    assert bytes_of(movie, "rev-0001") == {"music": b"music"}


def test_current_means_the_active_prefix(old: Old, store: Store) -> None:
    """A path below `assets/current/` is one below what the metadata call active."""
    old.write("metadata.json", {"movie_id": "film", "active_assets_prefix": "assets/rev3/"})
    old.put("assets/rev3/music/a.mp3", b"active")
    old.put("assets/rev4/music/a.mp3", b"newer")
    old.artefact("music", 4, "assets/current/music/a.mp3")
    old.snapshot(4, "music")
    _, movie = migrated(old, store)
    assert bytes_of(movie, "rev-0001") == {"music": b"active"}


def test_a_file_of_a_pruned_folder_is_found_by_its_label(old: Old, store: Store) -> None:
    """Where the folder of a line is gone, the copy that a consolidation made has the same label, and the bytes."""
    old.put("assets/rev3/music/a.mp3", b"music")
    old.artefact("music", 0, "assets/rev0/music/a.mp3", full_hash="sha:same")
    old.artefact("music", 3, "assets/rev3/music/a.mp3", full_hash="sha:same")
    old.snapshot(0, "music")
    report, movie = migrated(old, store)
    assert bytes_of(movie, "rev-0001") == {"music": b"music"}
    assert report.whole


def test_a_missing_file_is_named_and_the_rest_comes_along(old: Old, store: Store) -> None:
    """The report names the path, the artefact and the revision; a plan makes the artefact anew."""
    old.artefact("music", 0, "assets/rev0/music/a.mp3")
    old.artefact("text", 0, content="words", produced_by="writer")
    old.snapshot(0, "music", "text")
    report, movie = migrated(old, store)
    (lost,) = report.missing
    assert (lost.path, lost.artefact, lost.revision) == ("assets/rev0/music/a.mp3", "music", "rev0")
    assert bytes_of(movie, "rev-0001") == {"text": b"words"}
    plan = plan_movie(movie)
    assert plan.dirty == ["maker"]
    assert [reason.kind for reason in plan.jobs["maker"].reasons] == ["output missing"]


def test_an_artefact_without_lines_is_found_through_the_timeline(old: Old, store: Store) -> None:
    """The clip that names its id leads to the file; one that no clip names is missing."""
    old.put("assets/rev0/images/seg0/img1.png", b"image")
    old.put("assets/rev0/narration/seg0.mp3", b"voice")
    clips: list[dict[str, Any]] = [
        {"imageAssetId": "image_0_1", "imageUrl": "assets/rev0/images/seg0/img1.png"},
        {"narrationAssetId": "voice_0", "audioUrl": "assets/rev0/narration/seg0.mp3", "imageAssetId": "nothing"},
    ]
    old.snapshot(0, "image_0_1", "voice_0", "nothing", timeline={"tracks": {"visual": {"clips": clips}}})
    report, movie = migrated(old, store)
    found = bytes_of(movie, "rev-0001")
    assert (found["image_0_1"], found["voice_0"]) == (b"image", b"voice")
    assert [(item.path, item.artefact) for item in report.missing] == [("artefact nothing", "nothing")]
    assert newest(movie).artefacts["image_0_1"].legacy_hash == "sha:image_0_1"


def test_hashes_are_labels_that_are_kept_and_not_believed(old: Old, store: Store) -> None:
    """A label is whatever it is; the bytes are hashed anew."""
    old.artefact("text", 0, content="words", content_hash="sha:abc123")
    old.input("topic", 0, "war", hash="sha:zzz")
    old.snapshot(0, inputs=("topic",), artifact_hashes={"text": "sha:abc123"})
    _, movie = migrated(old, store)
    manifest = newest(movie)
    assert manifest.artefacts["text"].legacy_hash == "sha:abc123"
    assert manifest.inputs["topic"].legacy_hash == "sha:topic"
    assert manifest.to_json()["inputs"]["topic"]["legacyHash"] == "sha:topic"
    assert "legacyHash" not in manifest.to_json()["inputs"]["@blueprint"]


def test_clips_refer_to_artefacts(old: Old, store: Store) -> None:
    """Every path in the timeline, the alias too, becomes a reference; nothing else in it changes."""
    old.put("assets/rev0/images/seg0.png", b"image")
    old.artefact("image_0", 0, "assets/rev0/images/seg0.png")
    old.artefact("timeline", 0)
    clip = {"imageAssetId": "image_0", "imageUrl": "assets/current/images/seg0.png", "zoom": [1, "assets"]}
    nested = {"deep": [["assets/rev0/images/seg0.png"]]}
    old.snapshot(0, "image_0", "timeline", timeline={"duration": 30, "tracks": [clip, nested]})
    report, movie = migrated(old, store)
    manifest = newest(movie)
    assert manifest.timeline == "timeline"
    assert json.loads(movie.read(manifest.artefacts["timeline"])) == {
        "duration": 30,
        "tracks": [{**clip, "imageUrl": {"artefact": "image_0"}}, {"deep": [[{"artefact": "image_0"}]]}],
    }
    assert report.whole
    assert not list(paths_left(manifest.to_json()))


def test_a_file_that_only_a_clip_names_becomes_an_artefact(old: Old, store: Store) -> None:
    """Its bytes come along, under an id that its path gives; a clip that leads nowhere is reported."""
    old.put("assets/rev0/music/extra.mp3", b"extra")
    clips = [{"audioUrl": "assets/rev0/music/extra.mp3"}, {"audioUrl": "assets/rev0/gone.mp3"}]
    old.snapshot(0, "timeline", timeline={"clips": clips})
    report, movie = migrated(old, store)
    manifest = newest(movie)
    timeline = json.loads(movie.read(manifest.artefacts["timeline"]))
    assert timeline == {"clips": [{"audioUrl": {"artefact": "music.extra.mp3"}}, {"audioUrl": None}]}
    assert movie.read(manifest.artefacts["music.extra.mp3"]) == b"extra"
    assert [item.path for item in report.missing] == ["assets/rev0/gone.mp3"]


def test_text_stays_text_and_objects_stay_json(old: Old, store: Store) -> None:
    """Text has its exact bytes; an object is a JSON artefact in which paths are references."""
    old.put("assets/rev0/a.png", b"image")
    old.artefact("image", 0, "assets/rev0/a.png")
    old.artefact("text", 0, content="Zeile\r\nzwei \u2713")
    old.artefact("facts", 0, content={"n": [1, 2.5, None], "image": "assets/rev0/a.png"})
    old.snapshot(0, "image", "text", "facts")
    _, movie = migrated(old, store)
    manifest = newest(movie)
    assert manifest.artefacts["text"].mime_type == "text/plain"
    assert movie.read(manifest.artefacts["text"]) == "Zeile\r\nzwei \u2713".encode()
    assert manifest.artefacts["facts"].mime_type == "application/json"
    facts = json.loads(movie.read(manifest.artefacts["facts"]))
    assert facts == {"n": [1, 2.5, None], "image": {"artefact": "image"}}


@pytest.mark.parametrize("path", ["assets/../../secret", "../secret", "{absolute}", "assets/rev0/link", "assets\\x"])
def test_paths_that_lead_out_are_refused_and_named(path: str, old: Old, store: Store, tmp_path: Path) -> None:
    """Whether by dots, by a root, or by a link: nothing outside is read, the rest comes along."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (old.path / "assets" / "rev0").mkdir(parents=True)
    (old.path / "assets" / "rev0" / "link").symlink_to(secret)
    path = path.format(absolute=secret)
    old.artefact("stolen", 0, path)
    old.artefact("text", 0, content="words")
    old.snapshot(0, "stolen", "text", timeline={"clips": [{"imageUrl": "assets/../../secret"}]})
    report, movie = migrated(old, store)
    assert (path, "stolen") in {(item.path, item.artefact) for item in report.refused}
    assert "assets/../../secret" in {item.path for item in report.refused}
    assert b"secret" not in bytes_of(movie, "rev-0001").values()
    assert bytes_of(movie, "rev-0001")["text"] == b"words"


def test_a_link_that_stays_within_is_followed(old: Old, store: Store) -> None:
    """Be it relative or absolute, of a file or of a folder."""
    old.put("assets/rev0/real/a.mp3", b"music")
    (old.path / "assets" / "rev1").symlink_to((old.path / "assets" / "rev0").absolute())
    (old.path / "assets" / "rev0" / "b.mp3").symlink_to("../rev1/real/a.mp3")
    old.artefact("music", 0, "assets/rev0/b.mp3")
    old.snapshot(0, "music")
    report, movie = migrated(old, store)
    assert bytes_of(movie, "rev-0001") == {"music": b"music"}
    assert report.whole


def test_a_torn_last_line_is_reported_and_no_failure(old: Old, store: Store) -> None:
    """What stands before it counts; the exit code is that of a whole migration."""
    old.artefact("text", 0, content="words")
    old.input("topic", 0, "war")
    old.append("dag/artifacts.jsonl", '{"id": "text", "rev": 0, "content": "to')
    old.append("dag/inputSources.jsonl", '{"id"')
    old.snapshot(0, "text", inputs=("topic",))
    report, movie = migrated(old, store)
    assert [item.path for item in report.torn] == ["dag/inputSources.jsonl:2", "dag/artifacts.jsonl:2"]
    assert report.whole
    assert bytes_of(movie, "rev-0001") == {"text": b"words"}


def test_a_line_behind_a_torn_one_is_read(old: Old, store: Store) -> None:
    """Whoever appended after a crash wrote on in the same line."""
    old.append("dag/artifacts.jsonl", '{"id": "other", "rev": 0, "content": {"a": 1}, "sta')
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text")
    report, movie = migrated(old, store)
    assert len(report.torn) == 1
    assert bytes_of(movie, "rev-0001") == {"text": b"words"}


def test_the_history_of_inputs_comes_along_with_editors_and_times(old: Old, store: Store) -> None:
    """Every value ever given is an event, in its revision; the manifests hold what was valid."""
    old.input("topic", 0, "war", edited_by="ada", created_at="2025-10-01T08:00:00+02:00")
    old.input("topic", 1, "peace", edited_by="bob")
    old.input("topic", 1, {"long": "x" * 5_000}, edited_by="eve")
    for rev in (0, 1):
        old.snapshot(rev, inputs=("topic",))
    report, movie = migrated(old, store)
    events = [event for event in movie.events.stream_inputs() if event.input == "topic"]
    assert [(movie.events.read_value(event), event.edited_by) for event in events] == [
        ("war", "ada"),
        ("peace", "bob"),
        ({"long": "x" * 5_000}, "eve"),
    ]
    assert events[0].created_at == "2025-10-01T06:00:00.000Z"
    assert [len([e for e in movie.events.stream(run=m.run) if isinstance(e, InputEvent)]) for m, _ in
            movie.manifests.revisions()] == [2, 1]  # fmt: skip
    assert movie.value(movie.manifests.load("rev-0002").inputs["topic"]) == {"long": "x" * 5_000}
    assert report.whole


def test_of_artefacts_that_share_a_file_the_id_beside_the_path_says_which(old: Old, store: Store) -> None:
    """In the timeline, in an object and in each value of an input a clip refers to the artefact that it names."""
    path = "assets/rev0/images/x.png"
    old.put(path, b"shared")
    names = ("img_0", "img_1", "img_2")
    clips = [{"imageUrl": path, "imageAssetId": name} for name in (*names, "nobody")]
    for name in names:
        old.artefact(name, 0, path)
    old.artefact("board", 0, content=clips)
    old.input("plan", 0, "first")
    old.input("plan", 0, clips)
    old.input("plan", 1, clips)
    old.snapshot(0, *names, "board", inputs=("plan",), timeline={"clips": clips})
    report, movie = migrated(old, store)
    assert report.whole
    artefacts = newest(movie).artefacts
    values = [event for event in movie.events.stream_inputs() if event.input == "plan"]
    read = [json.loads(movie.read(artefacts["timeline"]))["clips"], json.loads(movie.read(artefacts["board"])),
            *(movie.events.read_value(event) for event in values)]  # fmt: skip
    shown = [[clip["imageUrl"]["artefact"] for clip in one] for one in read if one != "first"]
    assert [[*found[:3]] for found in shown] == [[*names]] * len(shown)
    assert {found[3] for found in shown} <= {*names}


def test_what_was_edited_after_the_newest_revision_is_pending(old: Old, store: Store) -> None:
    """A later value waits for the next run, once, however often the migration is repeated."""
    old.input("topic", 0, "war")
    old.input("topic", 1, "peace", edited_by="ada")
    old.snapshot(0, inputs=("topic",))
    _, movie = migrated(old, store)
    migrate(old.path, store)
    (edit,) = movie_status(movie).pending
    assert isinstance(edit, InputEvent)
    assert (edit.value, edit.edited_by, edit.created_at) == ("peace", "ada", "2025-10-26T10:00:00.000Z")
    assert movie_status(movie).runs == []
    check_invariants(movie)


def test_job_records_give_cost_time_and_errors(old: Old, store: Store) -> None:
    """What a job took stands at what it made, failed ones included; the records themselves are kept."""
    old.put("assets/rev0/a.mp3", b"music")
    old.artefact("music", 0, "assets/rev0/a.mp3")
    old.artefact("image", 0, status="failed")
    job = {"provider": "p", "started_at": "2025-10-26T10:00:00Z", "completed_at": "2025-10-26T10:00:07Z"}
    done = {"jobId": "j1", "producer": "maker", "status": "succeeded", "outputs": ["music"], "cost": 0.25, **job}
    failed = {"jobId": "j2", "producer": "painter", "status": "failed", "outputs": ["image"], "cost": 0.5, **job}
    old.write("dag/jobs/j1-maker-rev0.json", done)
    old.write("dag/jobs/j2-painter-rev0.json", {**failed, "error": {"message": "Too busy."}})
    old.snapshot(0, "music", status="failed")
    _, movie = migrated(old, store)
    events = {event.artefact: event for event in movie.events.stream_artefacts()}
    assert (events["music"].cost, events["music"].duration_seconds) == (0.25, 7.0)
    assert events["image"].status == "failed"
    assert events["image"].failure is not None
    assert (events["image"].failure.message, events["image"].cost) == ("Too busy.", 0.5)
    assert newest(movie).metrics.cost == 0.75
    assert movie_stats(movie).cost.spent == pytest.approx(0.75)
    (step,) = [event for event in movie.events.stream() if isinstance(event, RunEvent) and event.kind == "migrated"]
    assert step.data["jobs"] == [done, {**failed, "error": {"message": "Too busy."}}]
    assert step.data["status"] == "failed"


def test_after_a_failure_the_older_result_stands(old: Old, store: Store) -> None:
    """Made from the same, it is clean; made before an input changed, it is made anew by the next run."""
    old.write("dag/producers.json", {"producers": [{"id": "maker", "inputs": ["topic"], "outputs": ["text"]}]})
    old.input("topic", 0, "war")
    old.artefact("text", 0, content="words", content_hash="sha:text")
    old.artefact("text", 1, status="failed", content_hash=None)
    old.snapshot(1, "text", inputs=("topic",))
    _, movie = migrated(old, store)
    assert plan_movie(movie).dirty == []
    other = Old(old.path.with_name("other"))
    other.write("dag/producers.json", {"producers": [{"id": "maker", "inputs": ["topic"], "outputs": ["text"]}]})
    for rev, value in enumerate(["war", "peace"]):
        other.input("topic", rev, value)
    other.artefact("text", 0, content="words", content_hash="sha:text")
    other.artefact("text", 1, status="failed", content_hash=None)
    other.snapshot(1, "text", inputs=("topic",))
    _, movie = migrated(other, store)
    assert bytes_of(movie, "rev-0001") == {"text": b"words"}
    assert plan_movie(movie).dirty == ["maker"]


def film_with_producers(old: Old) -> None:
    """Two segments: a script for both, a voice for each, in two revisions."""
    old.write(
        "dag/producers.json",
        {
            "producers": [
                {"id": "script", "inputs": ["topic"], "outputs": ["line_0", "line_1"], "provider": "openai/gpt",
                 "cardinality": {"in": "1", "out": "n"}},
                {"id": "voice", "inputs": ["line_0", "line_1"], "outputs": ["voice_0", "voice_1"],
                 "provider": "eleven", "cardinality": {"in": "n", "out": "n"}},
            ],
            "edges": [{"from": "topic", "to": "script"}, {"from": "speed", "to": "voice"}],
        },
    )  # fmt: skip
    old.input("topic", 0, "war")
    old.input("speed", 0, 1)
    for segment in (0, 1):
        old.artefact(f"line_{segment}", 0, content=f"line {segment}", produced_by="script")
        old.put(f"assets/rev0/seg{segment}.mp3", f"voice {segment}".encode())
        old.artefact(f"voice_{segment}", 0, f"assets/rev0/seg{segment}.mp3", produced_by=None, deps=["voice", "script"])
    old.put("assets/rev1/seg1.mp3", b"other voice")
    old.artefact("voice_1", 1, "assets/rev1/seg1.mp3", produced_by="voice")
    for rev in (0, 1):
        old.snapshot(rev, "line_0", "line_1", "voice_0", "voice_1", inputs=("topic", "speed"))


def test_producers_come_along_and_an_unchanged_movie_needs_nothing(old: Old, store: Store) -> None:
    """The graph has a job for each segment, which reads what belongs to it; the next plan is empty."""
    film_with_producers(old)
    _, movie = migrated(old, store)
    plan = plan_movie(movie)
    assert plan.dirty == []
    jobs = {node.job_id: node for node in plan.graph.nodes}
    assert jobs.keys() == {"script", "voice[0]", "voice[1]"}
    assert (jobs["script"].provider, jobs["script"].provider_model) == ("openai", "gpt")
    assert {entry.ref.id for entry in jobs["voice[1]"].inputs if entry.ref} == {"line_1", "speed"}


def test_an_edit_after_the_migration_makes_what_depends_on_it(old: Old, store: Store) -> None:
    """As in a movie that was made here: a new speed concerns the voices, and not the script."""
    film_with_producers(old)
    _, movie = migrated(old, store)
    movie.events.append_input("speed", 2)
    plan = plan_movie(movie)
    assert plan.dirty == ["voice[0]", "voice[1]"]
    assert {reason.kind for job in plan.dirty for reason in plan.jobs[job].reasons} == {"input changed"}


def test_old_revisions_are_revisions_like_others(old: Old, store: Store) -> None:
    """`diff` says what changed, `rollback` goes back, and every invariant holds."""
    film_with_producers(old)
    _, movie = migrated(old, store)
    first, second = movie.manifests.load("rev-0001"), movie.manifests.load("rev-0002")
    assert diff_revisions(first, second).artefacts.changed == ["voice_1"]
    assert rollback(movie, "rev-0001") is not None
    assert bytes_of(movie, "rev-0003")["voice_1"] == b"voice 1"
    assert plan_movie(movie).dirty == []
    check_invariants(movie)


def test_the_configuration_is_an_input_of_the_newest_revision(old: Old, store: Store) -> None:
    """What people were editing is there, and older revisions do not have it."""
    old.write("configuration.json", {"general": {"duration": "30"}})
    for rev in (0, 1):
        old.artefact("text", rev, content=f"{rev}")
        old.snapshot(rev, "text")
    _, movie = migrated(old, store)
    assert movie.value(newest(movie).inputs["configuration"]) == {"general": {"duration": "30"}}
    assert "configuration" not in movie.manifests.load("rev-0001").inputs


def test_ids_that_are_not_allowed_here_get_others(old: Old, store: Store) -> None:
    """A slash or two dots in an id become escapes with a mark of their own; nothing is lost."""
    for name in ("images/0", "images%2F0", "..", "@blueprint"):
        old.artefact(name, 0, content=name)
    old.snapshot(0, "images/0", "images%2F0", "..", "@blueprint")
    report, movie = migrated(old, store)
    assert sorted(bytes_of(movie, "rev-0001").values()) == [b"..", b"@blueprint", b"images%2F0", b"images/0"]
    assert report.whole


def test_snapshots_that_cannot_be_read_are_missing(old: Old, store: Store) -> None:
    """The other revisions come along."""
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text")
    old.put("dag/snapshots/rev1.json", b'{"revision": 1')
    report, _ = migrated(old, store)
    assert report.mapped == {"rev0": "rev-0001"}
    assert [item.path for item in report.missing] == ["dag/snapshots/rev1.json"]


def test_artefacts_that_nobody_says_who_made_are_made_by_a_stand_in(old: Old, store: Store) -> None:
    """They stay through the next run, as everything does that some job makes."""
    old.artefact("text", 0, content="words", produced_by=None)
    old.snapshot(0, "text")
    _, movie = migrated(old, store)
    assert newest(movie).artefacts["text"].produced_by == "imported"
    assert plan_movie(movie).dirty == []


def test_every_attempt_is_a_take_or_a_failure(old: Old, store: Store) -> None:
    """Two results of one revision are both there, with their times; the later one is the artefact."""
    old.artefact("text", 0, content="first", created_at="2025-10-26T09:00:00Z")
    old.artefact("text", 0, content="second")
    old.snapshot(0, "text")
    _, movie = migrated(old, store)
    events = [event for event in movie.events.stream_artefacts() if isinstance(event, ArtefactEvent)]
    assert [event.value.inline if event.value else None for event in events] == ["first", "second"]
    assert events[0].created_at < events[1].created_at == STAMP.replace("Z", ".000Z")
