"""One damage after the other, made by hand: exactly its invariant is reported, and the printed command mends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from renku_store import Problem
from renku_store.clock import timestamp
from renku_store.records.manifest import Expiry
from tests.fsck.conftest import Film, flip

REPAIR = "renku-store fsck --repair"
FROM = "renku-store fsck --repair --from PATH"
RUN = "renku-store run"
REBUILD = "renku-store rebuild"


@dataclass(frozen=True)
class Broken:
    """What a damage is to be reported as. `object` is the end of its name."""

    invariant: int
    object: str
    repair: str
    artefacts: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()


CASES: dict[str, Callable[[Film], Broken]] = {}


def case(damage: Callable[[Film], Broken]) -> Callable[[Film], Broken]:
    """A damage: breaks the film and says what is to be found."""
    CASES[damage.__name__] = damage
    return damage


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def row_of(path: Path) -> str:
    """The row of an object, as SQL."""
    return f"hash = unhex('{path.name.removesuffix('.zst')}')"


# 1: bytes


@case
def a_changed_byte_in_an_artefact_of_the_current_revision(film: Film) -> Broken:
    path = film.blob("speak[1].audio")
    flip(path)
    return Broken(1, name(path), f"{REPAIR}; {RUN}", ("speak[1].audio",), ("rev-0002", "rev-0003"))


@case
def a_truncated_artefact_of_the_current_revision(film: Film) -> Broken:
    path = film.blob("cut.video")
    path.write_bytes(path.read_bytes()[:-5])
    return Broken(1, name(path), f"{REPAIR}; {RUN}", ("cut.video",), ("rev-0003",))


@case
def a_changed_byte_in_an_artefact_of_an_old_revision(film: Film) -> Broken:
    path = film.blob("speak[1].audio", 1)
    flip(path)
    repair = f"{REPAIR}; renku-store prune --expire rev-0001"
    return Broken(1, name(path), repair, ("speak[1].audio",), ("rev-0001",))


@case
def a_changed_byte_in_an_artefact_of_two_old_revisions(film: Film) -> Broken:
    path = film.blob("speak[0].audio", 1)
    flip(path)
    repair = f"{REPAIR}; renku-store prune --expire rev-0001 --expire rev-0002"
    return Broken(1, name(path), repair, ("speak[0].audio",), ("rev-0001", "rev-0002"))


@case
def a_changed_byte_in_an_artefact_of_a_tagged_revision(film: Film) -> Broken:
    assert film.call("tag", "1", "first").code == 0
    path = film.blob("speak[1].audio", 1)
    flip(path)
    return Broken(1, name(path), FROM, ("speak[1].audio",), ("rev-0001",))


@case
def a_changed_byte_in_an_input(film: Film) -> Broken:
    path = film.blob("notes")
    flip(path)
    return Broken(1, name(path), FROM, (), ("rev-0001", "rev-0002", "rev-0003"))


@case
def a_changed_byte_in_a_graph(film: Film) -> Broken:
    path = film.object(film.manifest().graph or "")
    flip(path)
    return Broken(1, name(path), REPAIR, (), ("rev-0001", "rev-0002", "rev-0003"))


@case
def a_changed_byte_that_nothing_needs(film: Film) -> Broken:
    with film.open() as movie:
        digest = movie.blobs.put(b"waste").hash
    path = film.object(digest)
    flip(path, 0)
    return Broken(1, name(path), REPAIR)


@case
def wrong_bytes_beside_the_right_ones(film: Film) -> Broken:
    packed = film.blob("cut.video")
    raw = packed.with_suffix("")
    raw.write_bytes(b"something else")
    return Broken(1, name(raw), REPAIR, ("cut.video",), ("rev-0003",))


@case
def bytes_behind_the_end(film: Film) -> Broken:
    path = film.blob("cut.video")
    path.write_bytes(path.read_bytes() + b"more")
    return Broken(1, name(path), f"{REPAIR}; {RUN}", ("cut.video",), ("rev-0003",))


# 2: names


@case
def a_foreign_file(film: Film) -> Broken:
    (film.folder / "blobs/notes.txt").write_text("mine")
    return Broken(2, "blobs/notes.txt", REPAIR)


@case
def a_name_with_bytes_that_are_no_text(film: Film) -> Broken:
    (film.folder / "blobs/7f").mkdir(exist_ok=True)
    Path(f"{film.folder}/blobs/7f/\udcff").write_text("mine")
    return Broken(2, "blobs/7f/\\udcff", REPAIR)


@case
def an_object_in_the_wrong_folder(film: Film) -> Broken:
    with film.open() as movie:
        path = film.object(movie.blobs.put(b"astray").hash)
        with movie.metadata.write() as writer:
            writer.blobs.forget([path.name])
    (film.folder / "blobs/zz").mkdir()
    path.rename(film.folder / "blobs/zz" / path.name)
    return Broken(2, f"zz/{path.name}", REPAIR)


# 3: events


@case
def a_pending_edit_without_its_bytes(film: Film) -> Broken:
    assert film.call("set", "notes", json.dumps("other " * 600)).code == 0
    shutil.copytree(film.root, film.root.with_name("copy"))
    with film.open() as movie:
        [edit] = movie.events.pending()
    path = film.object(edit.blob or "")  # type: ignore[union-attr]
    path.unlink()
    return Broken(3, name(path), FROM)


@case
def a_result_of_an_unfinished_run_that_is_gone(film: Film) -> Broken:
    """The film cannot be cut, but the words are spoken already; later it can."""
    with film.open() as movie:
        blueprint = str(movie.manifests.load("latest").inputs["@blueprint"].value)
    broken = film.root / "broken.yaml"
    broken.write_text(blueprint.replace("find inputs", f"test -e {film.root}/ok && find inputs"))
    assert film.call("set", "@blueprint", f"@{broken}").code == 0
    assert film.call("set", "lines[0]", "ein").code == 0
    assert film.call("run").code == 1
    (film.root / "ok").touch()
    with film.open() as movie:
        event = movie.events.latest_artefact("speak[0].audio")
    assert event is not None
    assert event.value is not None
    path = film.object(event.value.hash)
    path.unlink()
    return Broken(3, name(path), f"{REPAIR}; {RUN}", ("speak[0].audio",))


# 4: event rows


@case
def a_trigger_that_is_gone(film: Film) -> Broken:
    film.sql("DROP TRIGGER run_events_never_change")
    return Broken(4, "trigger run_events_never_change", REBUILD)


@case
def a_trigger_that_does_nothing(film: Film) -> Broken:
    film.sql(
        "DROP TRIGGER artefact_events_never_change",
        "CREATE TRIGGER artefact_events_never_change BEFORE UPDATE ON artefact_events BEGIN SELECT 1; END",
    )
    return Broken(4, "trigger artefact_events_never_change", REBUILD)


@case
def a_compaction_that_was_left_active(film: Film) -> Broken:
    film.sql("UPDATE compaction SET active = 1")
    return Broken(4, "compaction", REBUILD)


@case
def an_event_that_differs_from_its_archive(film: Film) -> Broken:
    run = film.manifest(1).run
    film.rewrite("run_events", f"UPDATE run_events SET created_at = '1999' WHERE run = '{run}' AND kind = 'planned'")
    return Broken(4, run, REBUILD)


@case
def an_event_that_left_its_table(film: Film) -> Broken:
    run = film.manifest(1).run
    film.rewrite("run_events", f"DELETE FROM run_events WHERE run = '{run}' AND kind = 'planned'")
    return Broken(4, run, REBUILD)


@case
def a_damaged_archive_of_an_unpublished_run(film: Film) -> Broken:
    with film.open() as movie:
        run = movie.events.new_id()
        movie.leases.release(movie.leases.start(run, base_revision=None, edits_through=0))
        movie.archiver.archive(run, 0)
    (film.folder / f"events/{run}.jsonl.zst").write_bytes(b"(")
    return Broken(4, f"events/{run}.jsonl.zst", REPAIR)


@case
def a_look_up_of_an_input_that_is_gone(film: Film) -> Broken:
    film.sql("DELETE FROM latest_inputs WHERE input = 'notes'")
    return Broken(4, "latest_inputs notes", REBUILD)


@case
def a_look_up_of_an_input_that_is_behind(film: Film) -> Broken:
    film.sql(
        "UPDATE latest_inputs SET seq = (SELECT min(seq) FROM input_events WHERE input = 'lines') WHERE input = 'lines'"
    )
    return Broken(4, "latest_inputs lines", REBUILD)


@case
def a_look_up_of_another_input(film: Film) -> Broken:
    lines = "SELECT seq FROM latest_inputs WHERE input = 'lines'"
    film.sql(f"UPDATE latest_inputs SET seq = ({lines}) WHERE input = 'notes'")
    return Broken(4, "latest_inputs notes", REBUILD)


@case
def a_look_up_of_an_artefact_that_is_gone(film: Film) -> Broken:
    film.sql("DELETE FROM latest_artefacts WHERE artefact = 'cut.index'")
    return Broken(4, "latest_artefacts cut.index", REBUILD)


# 5: revisions


@case
def a_missing_artefact_of_the_current_revision(film: Film) -> Broken:
    path = film.blob("speak[0].audio")
    path.unlink()
    return Broken(5, name(path), f"{REPAIR}; {RUN}", ("speak[0].audio",), ("rev-0003",))


@case
def a_missing_artefact_without_a_row(film: Film) -> Broken:
    path = film.blob("speak[0].audio")
    path.unlink()
    film.sql(f"DELETE FROM blobs WHERE {row_of(path)}")
    return Broken(5, name(path).removesuffix(".zst"), RUN, ("speak[0].audio",), ("rev-0003",))


@case
def a_damaged_manifest_of_an_old_revision(film: Film) -> Broken:
    flip(film.folder / "manifests/rev-0001.json")
    return Broken(5, "manifests/rev-0001.json", REPAIR, (), ("rev-0001",))


@case
def a_missing_manifest_of_an_old_revision(film: Film) -> Broken:
    (film.folder / "manifests/rev-0002.json").unlink()
    return Broken(5, "manifests/rev-0002.json", REPAIR, (), ("rev-0002",))


@case
def a_missing_manifest_that_the_index_says_too_little_of(film: Film) -> Broken:
    (film.folder / "manifests/rev-0002.json").unlink()
    film.sql("UPDATE revisions SET created_at = '2026-01-01T00:00:00.000Z' WHERE number = 2")
    return Broken(5, "manifests/rev-0002.json", "renku-store prune --expire rev-0002", (), ("rev-0002",))


@case
def a_damaged_manifest_of_the_current_revision(film: Film) -> Broken:
    flip(film.folder / "manifests/rev-0003.json")
    return Broken(5, "manifests/rev-0003.json", REPAIR, (), ("rev-0003",))


@case
def a_missing_manifest_of_the_current_revision(film: Film) -> Broken:
    (film.folder / "manifests/rev-0003.json").unlink()
    return Broken(5, "manifests/rev-0003.json", REPAIR, (), ("rev-0003",))


@case
def a_missing_manifest_of_the_current_revision_that_the_index_says_too_little_of(film: Film) -> Broken:
    (film.folder / "manifests/rev-0003.json").unlink()
    film.sql("UPDATE newest_manifest SET manifest = x'7b7d'", "UPDATE revisions SET made = 9 WHERE number = 3")
    return Broken(5, "manifests/rev-0003.json", FROM, (), ("rev-0003",))


@case
def a_damaged_archive_of_a_revision(film: Film) -> Broken:
    path = film.folder / f"events/{film.manifest(2).run}.jsonl.zst"
    flip(path)
    return Broken(5, name(path), REPAIR, (), ("rev-0002",))


@case
def a_missing_archive_of_a_revision(film: Film) -> Broken:
    path = film.folder / f"events/{film.manifest(1).run}.jsonl.zst"
    path.unlink()
    return Broken(5, name(path), REPAIR, (), ("rev-0001",))


@case
def a_mark_of_expiry_that_cannot_be_read(film: Film) -> Broken:
    assert film.call("prune", "--expire", "rev-0001").code == 0
    path = film.folder / "manifests/rev-0001.expired.json"
    path.write_text("{")
    return Broken(5, name(path), REPAIR, (), ("rev-0001",))


@case
def a_mark_of_another_revision(film: Film) -> Broken:
    now = timestamp(film.now())
    mark = Expiry(revision="rev-0001", hash="0" * 64, expired_at=now, why="by hand")
    (film.folder / "manifests/rev-0001.expired.json").write_text(json.dumps(mark.to_json()))
    return Broken(5, "manifests/rev-0001.expired.json", REPAIR, (), ("rev-0001",))


@case
def a_stub_without_its_mark(film: Film) -> Broken:
    assert film.call("prune", "--expire", "rev-0001").code == 0
    assert film.call("gc", "--trash", "0", "--force").code == 0
    (film.folder / "manifests/rev-0001.expired.json").unlink()
    return Broken(5, "manifests/rev-0001.expired.json", REPAIR, (), ("rev-0001",))


@case
def a_tag_that_cannot_be_read(film: Film) -> Broken:
    (film.folder / "tags").mkdir()
    (film.folder / "tags/final.json").write_text("{")
    return Broken(5, "tags/final.json", "renku-store tag --delete final")


@case
def a_tag_with_another_hash(film: Film) -> Broken:
    assert film.call("tag", "2", "final").code == 0
    path = film.folder / "tags/final.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hash": "0" * 64}))
    return Broken(5, "tags/final.json", "renku-store tag rev-0002 final", (), ("rev-0002",))


@case
def a_tag_of_a_revision_that_never_was(film: Film) -> Broken:
    assert film.call("tag", "2", "final").code == 0
    path = film.folder / "tags/final.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "revision": "rev-0009"}))
    return Broken(5, "tags/final.json", "renku-store tag --delete final")


# 6: the chain


@case
def an_index_that_says_another_hash(film: Film) -> Broken:
    film.sql("UPDATE revisions SET hash = zeroblob(32) WHERE number = 2")
    return Broken(6, "rev-0002", REBUILD, (), ("rev-0002",))


@case
def an_index_that_does_not_know_a_revision(film: Film) -> Broken:
    film.sql("DELETE FROM revisions WHERE number = 2")
    return Broken(6, "rev-0002", REBUILD, (), ("rev-0002",))


def _span(film: Film, name: str, number: int) -> str:
    return f"hash = unhex('{film.manifest(number).artefacts[name].hash}')"


@case
def an_index_that_says_less_of_the_current_revision(film: Film) -> Broken:
    film.sql(f"DELETE FROM manifest_blobs WHERE {_span(film, 'cut.video', 3)}")
    return Broken(6, "manifest_blobs", REBUILD, (), ("rev-0002", "rev-0003"))


@case
def an_index_that_says_less_of_an_old_revision(film: Film) -> Broken:
    film.sql(f"DELETE FROM manifest_blobs WHERE {_span(film, 'cut.video', 1)}")
    return Broken(6, "manifest_blobs", REBUILD, (), ("rev-0001",))


@case
def an_index_that_says_more_of_the_current_revision(film: Film) -> Broken:
    film.sql(f"UPDATE manifest_blobs SET last = NULL WHERE {_span(film, 'cut.video', 2)}")
    return Broken(6, "manifest_blobs", REBUILD, (), ("rev-0002", "rev-0003"))


@case
def an_index_that_says_another_run(film: Film) -> Broken:
    film.sql("UPDATE runs SET revision = NULL, status = 'abandoned' WHERE revision = 'rev-0001'")
    film.sql("UPDATE revisions SET run = 'another' WHERE number = 1")
    return Broken(6, "rev-0001", REBUILD, (), ("rev-0001",))


# 7: the pointer


@case
def a_pointer_that_cannot_be_read(film: Film) -> Broken:
    (film.folder / "current.json").write_text("{")
    return Broken(7, "current.json", REPAIR)


@case
def a_pointer_that_is_missing(film: Film) -> Broken:
    (film.folder / "current.json").unlink()
    return Broken(7, "current.json", REPAIR)


@case
def a_pointer_that_is_a_folder(film: Film) -> Broken:
    (film.folder / "current.json").unlink()
    (film.folder / "current.json").mkdir()
    assert film.call("log").code == 0
    assert film.call("set", "lines[0]", "un").code == 0
    return Broken(7, "current.json", REPAIR)


def _point(film: Film, **said: str) -> Broken:
    path = film.folder / "current.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
    return Broken(7, "current.json", REPAIR)


@case
def a_pointer_with_another_hash(film: Film) -> Broken:
    return _point(film, hash="0" * 64)


@case
def a_pointer_to_a_revision_that_never_was(film: Film) -> Broken:
    return _point(film, revision="rev-0009", manifest="manifests/rev-0009.json")


# 8 and 9: rows of blobs


@case
def a_row_with_another_size(film: Film) -> Broken:
    path = film.blob("cut.video")
    film.sql(f"UPDATE blobs SET stored_size = stored_size + 1 WHERE {row_of(path)}")
    return Broken(8, name(path), REPAIR, ("cut.video",), ("rev-0003",))


@case
def a_row_with_another_encoding(film: Film) -> Broken:
    path = film.blob("cut.video")
    film.sql(f"UPDATE blobs SET encoding = 'raw' WHERE {row_of(path)}")
    return Broken(8, name(path), REPAIR, ("cut.video",), ("rev-0003",))


@case
def a_live_row_without_an_object(film: Film) -> Broken:
    with film.open() as movie:
        path = film.object(movie.blobs.put(b"waste").hash)
    path.unlink()
    return Broken(8, name(path), REPAIR)


@case
def a_needed_blob_that_is_condemned(film: Film) -> Broken:
    path = film.blob("speak[1].audio", 1)
    film.sql(f"UPDATE blobs SET state = 'condemned' WHERE {row_of(path)}")
    return Broken(9, name(path), REPAIR, ("speak[1].audio",), ("rev-0001",))


@case
def a_needed_blob_that_a_dead_collection_has_marked(film: Film) -> Broken:
    path = film.blob("speak[1].audio", 1)
    film.sql(f"UPDATE blobs SET state = 'deleting' WHERE {row_of(path)}")
    return Broken(9, name(path), REPAIR, ("speak[1].audio",), ("rev-0001",))


@case
def a_needed_blob_without_a_row(film: Film) -> Broken:
    path = film.blob("notes")
    film.sql(f"DELETE FROM blobs WHERE {row_of(path)}")
    return Broken(9, name(path), REPAIR, (), ("rev-0001", "rev-0002", "rev-0003"))


# 10: leases, claims, traces


@case
def a_claim_without_a_lease(film: Film) -> Broken:
    film.sql("INSERT INTO claims VALUES (zeroblob(32), 'run', 'job', 1, 1, 0)")
    return Broken(10, "0" * 64, REPAIR)


@case
def a_lease_with_a_token_that_was_never_given_out(film: Film) -> Broken:
    with film.open() as movie:
        run = movie.events.new_id()
        movie.leases.start(run, base_revision=None, edits_through=0)
    film.sql("UPDATE leases SET counter = 999")
    return Broken(10, run, REPAIR)


@case
def a_result_that_no_event_tells_of(film: Film) -> Broken:
    columns = "signature, run, job, producer, outputs, cost, kept, created_at"
    film.sql(f"INSERT INTO traces (result, {columns}) SELECT 'made up', {columns} FROM traces WHERE number = 1")
    return Broken(10, "made up", REBUILD)


def _result(film: Film) -> str:
    [(result,)] = film.ask("SELECT result FROM traces WHERE number = 1")
    return str(result)


@case
def a_result_that_has_left_the_reuse_index(film: Film) -> Broken:
    result = _result(film)
    film.sql("DELETE FROM traces WHERE number = 1")
    return Broken(10, result, REBUILD)


@case
def a_result_with_another_hash(film: Film) -> Broken:
    film.sql("UPDATE traces SET outputs = json_set(outputs, '$.audio.hash', hex(zeroblob(32))) WHERE number = 1")
    return Broken(10, _result(film), REBUILD)


@case
def a_result_of_another_signature(film: Film) -> Broken:
    film.sql("UPDATE traces SET signature = zeroblob(32) WHERE number = 1")
    return Broken(10, _result(film), REBUILD)


# 11: leftovers


@case
def a_published_run_without_a_revision(film: Film) -> Broken:
    run = film.manifest(1).run
    film.sql(f"UPDATE runs SET revision = NULL WHERE run = '{run}'")
    return Broken(11, run, REBUILD)


@case
def a_plan_that_cannot_be_read(film: Film) -> Broken:
    path = film.folder / f"runs/{film.manifest(2).run}-plan.json"
    path.write_text("{")
    return Broken(11, name(path), REPAIR)


@case
def a_database_that_is_none(film: Film) -> Broken:
    for part in film.folder.glob("metadata.db*"):
        part.unlink()
    (film.folder / "metadata.db").write_bytes(b"garbage " * 1_000)
    return Broken(11, "metadata.db", REBUILD)


@case
def a_database_with_a_damaged_page(film: Film) -> Broken:
    film.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    path = film.folder / "metadata.db"
    data = bytearray(path.read_bytes())
    for start in range(40):
        if start % 2:
            data[start * 4096 : start * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    return Broken(11, "metadata.db", REBUILD)


@case
def a_database_without_a_table(film: Film) -> Broken:
    film.sql("DROP TABLE claims")
    return Broken(11, "metadata.db", REBUILD)


@case
def a_database_without_its_epoch(film: Film) -> Broken:
    film.sql("DELETE FROM meta")
    return Broken(11, "metadata.db", REBUILD)


@case
def an_index_of_the_database_that_is_gone(film: Film) -> Broken:
    film.sql("DROP INDEX claims_by_run")
    return Broken(11, "index claims_by_run", REBUILD)


@pytest.mark.parametrize("damage", CASES.values(), ids=CASES)
def test_each_damage_is_reported_by_its_number_and_mended_by_its_command(
    film: Film, original: Path, damage: Callable[[Film], Broken]
) -> None:
    """Nothing is changed by the check; of what cannot be made anew, a copy of the film is the cure."""
    told = damage(film)
    before = film.files()
    report = film.check()
    assert film.files() == before
    assert [_told(problem, told) for problem in report.problems] == [told], report
    assert not report.ok
    copy = film.root.with_name("copy")
    film.obey(told.repair.replace("PATH", str(copy if copy.exists() else original)))
    after = film.check()
    assert after.ok, after


def _told(problem: Problem, like: Broken) -> Broken:
    found = Broken(
        problem.invariant, problem.object, problem.repair, tuple(problem.artefacts), tuple(problem.revisions)
    )
    return (
        like
        if found == Broken(**{**vars(like), "object": problem.object}) and problem.object.endswith(like.object)
        else found
    )
