"""The order of durable steps in a whole publish, and what is left when it is killed before or after any of them.

Invariants 3, 5, 6, 7 and 11.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store import Job, JobContext, Movie, Produced, ProducerError, RunReport, open_store, run_movie, set_inputs
from tests import children
from tests.authoring import LONG, check_whole, lose_database, opened, publish, texts

BLUEPRINT = """
inputs: {title: {type: string, required: true}, voice: {type: string, required: true}}
producers:
  say: {run: test/say, inputs: {title: title, voice: voice}, outputs: {out: {mimeType: text/plain}}}
  show: {run: test/show, inputs: {said: say.out}, outputs: {out: {mimeType: text/plain}}}
"""

PUBLISH = """
    import sys
    from pathlib import Path
    from tests.authoring import LONG, opened, publish
    with opened(Path(sys.argv[1])) as movie:
        print(publish(movie, {"b.out": "changed " + LONG}).revision)
"""

KILLED = """
    import asyncio, os, shutil, signal, sys
    from pathlib import Path
    import apsw
    from renku_store import run_movie
    from tests.authoring import opened
    from tests.crash.test_publish import run

    STEPS = ("link", "replace", "fsync", "unlink", "mkdir", "rename")

    def count_down(left):
        remaining = [left]
        def step():
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return step

    def watch(step):
        # Before and after every call that makes a file durable or names it, and every commit of the database.
        def watched(call):
            def around(*arguments, **named):
                step()
                try:
                    return call(*arguments, **named)
                finally:
                    step()
            return around
        for name in STEPS:
            setattr(os, name, watched(getattr(os, name)))
        def hooks(connection):
            connection.set_commit_hook(lambda: bool(step()))
            def written(connection, name, pages):
                step()
                return apsw.SQLITE_OK
            connection.set_wal_hook(written)
        apsw.connection_hooks.append(hooks)

    template, target, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    n = 0
    while True:
        n += 1
        root = target / str(n)
        shutil.copytree(template, root)
        child = os.fork()
        if child == 0:
            watch(count_down(n))
            with opened(root) as movie:
                if what == "run":
                    assert run(movie).status == "published"
                if what == "manual":
                    from tests.authoring import LONG, publish
                    publish(movie, {"b.out": "changed " + LONG}, {"voice": "second"})
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
    print(n)
"""


def say(title: str, voice: str) -> str:
    return f"{voice} says {title} " * 200


def run(movie: Movie, calls: list[str] | None = None, broken: str = "") -> RunReport:
    """The daily loop with a producer that repeats what it is given."""

    async def produce(job: Job, context: JobContext) -> Produced:
        if calls is not None:
            calls.append(job.job_id)
        if job.job_id == broken:
            raise ProducerError(f"{broken} is broken")
        words = {name: str(getattr(item, "value", None)) for name, item in job.inputs.items()}
        return Produced({"out": say(words["title"], words["voice"]) if job.producer == "say" else "shown"}, cost=1.0)

    return asyncio.run(run_movie(movie, produce=produce))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A movie of one revision."""
    with open_store(tmp_path / "root") as store:
        publish(store.create_movie("film"), {"a.out": "short", "b.out": LONG}, {"voice": "first"})
    return tmp_path / "root"


def killed(template: Path, target: Path, what: str) -> Iterator[Path]:
    """Copies of a root in which a process was killed before or after each of its durable steps; the last was not."""
    target.mkdir()
    ended = children.run(KILLED, template, target, what)
    assert ended.code == 0, ended.err
    assert int(ended.out) > 15
    for number in range(1, int(ended.out) + 1):
        yield target / str(number)


def place(calls: list[str], pattern: str, after: int = -1) -> int:
    """Where the first call that matches stands behind another."""
    return next(n for n, call in enumerate(calls) if n > after and re.match(pattern, call))


def test_a_publish_goes_blobs_events_archive_intent_manifest_pointer_rows(root: Path, tmp_path: Path) -> None:
    """Each is durable before the next is begun."""
    ended, calls = children.trace(PUBLISH, root, log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, "rev-0002\n"), ended.err
    synced_temporary, committed = r"fsync\(\d+<.*/film/tmp/", r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal"
    expected = [
        synced_temporary,
        r"renameat2\(.*/film/tmp/.*/film/blobs/.*RENAME_NOREPLACE\)\s+= 0",
        r"fsync\(\d+<.*/film/blobs/..>",
        committed,  # the row of the blob
        committed,  # the events
        synced_temporary,
        r"rename(at2?)?\(.*/film/tmp/.*/film/events/.*\.jsonl\.zst.* = 0",
        r"fsync\(\d+<.*/film/events>",
        committed,  # the intent
        synced_temporary,
        r"link(at)?\(.*/film/tmp/.*/film/manifests/rev-0002\.json.* = 0",
        r"fsync\(\d+<.*/film/manifests>",
        synced_temporary,
        r"rename(at2?)?\(.*/film/tmp/.*/film/current\.json.* = 0",
        r"fsync\(\d+<.*/film>",
        committed,  # the bookkeeping
    ]
    at = -1
    for pattern in expected:
        at = place(calls, pattern, at)
    for once in (expected[1], expected[6], expected[10], expected[13]):
        assert sum(bool(re.match(once, call)) for call in calls) == 1
    commits = [n for n, call in enumerate(calls) if re.match(committed, call)]
    archived, created = place(calls, expected[7]), place(calls, expected[10])
    assert sum(archived < n < created for n in commits) == 1, "between archive and manifest there is the intent only"
    assert not [n for n in commits if created < n < place(calls, expected[14], created)]


OPEN = """
    import sys
    from pathlib import Path
    from tests.authoring import opened
    with opened(Path(sys.argv[1])) as movie:
        print(movie.manifests.load_current()[0].revision)
"""


def test_what_a_dead_publisher_created_is_made_durable_before_it_is_built_upon(root: Path, tmp_path: Path) -> None:
    """It may have died between link and sync: rows and pointer would promise what a power cut can take back."""
    shutil.copytree(root, tmp_path / "before")
    with opened(root) as movie:
        publish(movie, {"b.out": "later"})
    for name in ("film/metadata.db", "film/current.json"):
        shutil.copy(tmp_path / "before" / name, root / name)
    ended, calls = children.trace(OPEN, root, log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, "rev-0002\n"), ended.err
    settled = place(calls, r"fsync\(\d+<.*/film/manifests>")
    booked = place(calls, r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal")
    pointed = place(calls, r"rename(at2?)?\(.*/film/current\.json.* = 0")
    assert settled < booked < pointed
    with opened(root) as movie:
        check_whole(movie)


@pytest.mark.ramdisk
def test_a_publish_by_hand_killed_anywhere_is_absent_or_complete(root: Path, tmp_path: Path) -> None:
    """Opened again, the first revision is untouched; the second is there as a whole, or nothing of it is seen."""
    seen = set()
    for copy in killed(root, tmp_path / "killed", "manual"):
        with opened(copy) as movie:
            check_whole(movie)
            assert texts(movie, "rev-0001") == {"a.out": "short", "b.out": LONG}
            revision = movie.manifests.load_current()[0].revision
            seen.add(revision)
            if revision == "rev-0002":
                assert texts(movie) == {"a.out": "short", "b.out": "changed " + LONG}
                assert movie.events.pending() == []
            else:
                publish(movie, {"b.out": "later"}, {"voice": "third"})
                check_whole(movie)
    assert seen == {"rev-0001", "rev-0002"}


@pytest.mark.ramdisk
def test_a_run_killed_anywhere_is_resumed_and_publishes_what_it_meant_to(tmp_path: Path) -> None:
    """Nothing paid for and stored runs again; where an intent was recorded, exactly its bytes are published."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "title": "one", "voice": "first"})
        assert run(movie).status == "published"
        set_inputs(movie, {"voice": "second"})
    intended = 0
    for copy in killed(tmp_path / "root", tmp_path / "killed", "run"):
        with opened(copy) as movie:
            check_whole(movie)
            with movie.metadata.read() as reader:
                meant = [intent.manifest for intent in reader.revisions.intents()]
            published = movie.manifests.load_current()[0].revision == "rev-0002"
            stored = {event.artefact for event in movie.events.stream_artefacts("rev-0001")}
            calls: list[str] = []
            report = run(movie, calls)
            assert report.status == ("unchanged" if published else "published")
            assert not {f"{job}.out" for job in calls} & stored
            if meant:
                intended += 1
                assert not calls
                assert meant == [(copy / "film/manifests/rev-0002.json").read_bytes()]
            check_whole(movie)
            assert texts(movie) == {"say.out": say("one", "second"), "show.out": "shown"}
            assert [record.status for record in movie.leases.unfinished()] == []
            assert run(movie).status == "unchanged"
        shutil.rmtree(copy)
    assert intended > 2


@pytest.mark.ramdisk
def test_a_restoring_killed_anywhere_is_done_by_the_next_one_that_opens(tmp_path: Path) -> None:
    """Without its database a movie is indexed anew while it is opened; that, too, can be cut off at any step."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "title": "one", "voice": "first"})
        run(movie)
        set_inputs(movie, {"voice": "second"})
        assert run(movie, broken="show").status == "failed"
    lose_database(tmp_path / "root")
    for copy in killed(tmp_path / "root", tmp_path / "killed", "open"):
        with opened(copy) as movie:
            check_whole(movie)
            assert [(edit.type, getattr(edit, "input", "")) for edit in movie.events.pending()] == [("input", "voice")]
            calls: list[str] = []
            assert run(movie, calls).revision == "rev-0002"
            assert calls == ["show"]
            check_whole(movie)
