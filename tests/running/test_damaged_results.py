"""Results that are cut short, or that the store cannot take at once: nothing that was paid for is lost for it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard

from renku_store import (
    BlobCorruptError,
    Job,
    JobContext,
    Movie,
    Produced,
    RunReport,
    StoreUnavailableError,
    bounds,
    open_store,
    set_inputs,
)
from renku_store.outlook import plan_movie
from renku_store.records.blob import blob_path
from renku_store.records.plan import Choices
from renku_store.regenerate import run_movie
from renku_store.running.results import Outcome, ResultWriter, Stored
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

PADDING = " and so on" * 2000
NEW_TITLES = [{**segment, "title": segment["title"] + "!"} for segment in SEGMENTS]


class LongStudio(Studio):
    """Makes texts that are stored compressed, and a new take with every call of a job in `takes`."""

    def __init__(self) -> None:
        super().__init__()
        self.takes: set[str] = set()

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        made = await super().__call__(job, context)
        take = f" take {self.calls[job.job_id]}" if job.job_id in self.takes else ""
        plain = {"seconds", "timeline"}
        outputs = {
            name: text if name in plain or not isinstance(text, str) else f"{text}{take}{PADDING}"
            for name, text in made.outputs.items()
        }
        return Produced(outputs, cost=made.cost)


@pytest.fixture
def studio() -> LongStudio:
    return LongStudio()


def run(movie: Movie, studio: Studio, *, regen: Sequence[str] = ()) -> RunReport:
    choices = Choices(regen=list(regen)) if regen else None
    return asyncio.run(run_movie(movie, produce=studio, concurrency=20, choices=choices))


def blob_of(movie: Movie, artefact: str, revision: str = "latest") -> str:
    blob = movie.manifests.load(revision).artefacts[artefact].blob
    assert blob is not None
    return blob


def packed(movie: Movie, digest: str) -> Path:
    return Path(movie.root) / movie.id / blob_path(digest, "zstd")


def cut(movie: Movie, digest: str) -> None:
    """Cut the end of a compressed object off: the header of its frame is as it was."""
    path = packed(movie, digest)
    path.write_bytes(path.read_bytes()[:-5])


def text(movie: Movie, artefact: str) -> str:
    return movie.read(movie.manifests.load("latest").artefacts[artefact]).decode()


def test_an_earlier_result_that_is_cut_short_is_made_anew(movie: Movie, studio: LongStudio) -> None:
    """Once, and whatever is beside it is taken over or stored as ever."""
    run(movie, studio)
    set_inputs(movie, {"voice": "de"})
    run(movie, studio)
    cut(movie, blob_of(movie, "say[0].audio", "rev-0001"))
    set_inputs(movie, {"voice": "en", "segments": NEW_TITLES})
    studio.calls.clear()
    result = run(movie, studio)
    assert result.status == "published"
    assert studio.calls == dict.fromkeys(["say[0]", "draw[0]", "draw[1]", "draw[2]", "film"], 1)
    assert text(movie, "say[0].audio").endswith(PADDING)


def test_an_earlier_result_whose_object_was_packed_anew_is_taken_over(movie: Movie, studio: LongStudio) -> None:
    """As by restoring it from a copy: its bytes are right, only the index says otherwise; nobody pays for that."""
    run(movie, studio)
    path = packed(movie, blob_of(movie, "say[0].audio"))
    content = zstandard.decompress(path.read_bytes())
    path.write_bytes(zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content))
    studio.calls.clear()
    set_inputs(movie, {"@blueprint": BLUEPRINT + "\n# edited"})
    result = run(movie, studio)
    assert not studio.calls
    assert result.status == "published"
    assert movie.blobs.has(blob_of(movie, "say[0].audio"))


def test_a_damaged_result_fails_nobody_beside_it(movie: Movie, studio: LongStudio) -> None:
    """A paid result in the same commit is stored."""
    run(movie, studio)
    nodes = {node.job_id: node for node in plan_movie(movie).graph.nodes}
    entry = movie.manifests.load("latest").artefacts["say[0].audio"]
    assert entry.signature is not None
    trace = movie.events.find_trace(entry.signature)
    assert trace is not None
    cut(movie, blob_of(movie, "say[0].audio"))
    token = movie.leases.start(movie.events.new_id(), base_revision="rev-0001", edits_through=0)
    writer = ResultWriter(
        movie.metadata, movie.blobs, movie.events.new_ids, movie.clock, token, movie.archiver.keep_late
    )
    paid = Outcome(nodes["draw[0]"], "ab" * 32, {"image": b"paid"}, {"image": "image/png"}, cost=1.0, attempts=1)

    async def both() -> tuple[Stored | BaseException, Stored | BaseException]:
        taken = writer.store(Outcome(nodes["say[0]"], trace.signature, trace=trace))
        return await asyncio.gather(taken, writer.store(paid), return_exceptions=True)

    damaged, stored = asyncio.run(both())
    assert isinstance(damaged, BlobCorruptError)
    assert isinstance(stored, Stored)
    assert movie.read(stored.values["image"]) == b"paid"


def test_a_clean_artefact_that_is_cut_short_is_planned_to_be_made_anew(movie: Movie, studio: LongStudio) -> None:
    """The planner sees what publishing would refuse."""
    run(movie, studio)
    cut(movie, blob_of(movie, "draw[0].image"))
    studio.calls.clear()
    set_inputs(movie, {"@blueprint": BLUEPRINT + "\n# edited"})
    assert [reason.kind for reason in plan_movie(movie).jobs["draw[0]"].reasons] == ["blob missing or damaged"]
    assert run(movie, studio).status == "published"
    assert studio.calls["draw[0]"] == 1
    assert text(movie, "draw[0].image").endswith(PADDING)


def test_a_result_made_anew_heals_what_a_lost_index_left_unknown(tmp_path: Path, studio: LongStudio) -> None:
    """The very bytes come again while a cut object lies under their name."""
    with open_store(tmp_path / "builds") as store:
        movie = store.create_movie("small")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        run(movie, studio)
        cut(movie, blob_of(movie, "draw[0].image"))
    for path in (tmp_path / "builds" / "small").glob("metadata.db*"):
        path.unlink()
    with open_store(tmp_path / "builds") as store:
        movie = store.movie("small")
        set_inputs(movie, {"@blueprint": BLUEPRINT + "\n# edited"})
        assert run(movie, studio, regen=["draw[0]"]).jobs["draw[0]"].status == "made"
        assert text(movie, "draw[0].image").endswith(PADDING)


@pytest.mark.parametrize("size", [20_000, bounds.PUT_VERIFY_MAX_BYTES + 300_000])
def test_putting_results_looks_behind_a_row_that_is_wrong(movie: Movie, size: int) -> None:
    """Small contents are hashed, the frames of large ones looked through; imports trust the row."""
    content = b"many words " * (size // 11)
    blob = movie.blobs.put(content)
    cut(movie, blob.hash)
    with movie.metadata.write() as writer:
        writer.blobs.make_live([(blob.hash, blob.size, packed(movie, blob.hash).stat().st_size, "zstd")])
    movie.blobs.put_many([content])
    with pytest.raises(BlobCorruptError):
        movie.blobs.read(blob)
    movie.blobs.put_many([content], verify=True)
    assert movie.blobs.read(blob) == content


def test_an_object_that_no_row_describes_is_there_only_if_its_frame_is_whole(movie: Movie) -> None:
    """Wherever it is cut, and where something was appended: `has`, `damaged` and `revive` agree."""
    content = os.urandom(100_000) + b"many words " * 40_000 + os.urandom(100_000) + bytes(300_000)
    blob = movie.blobs.put(content)
    path = packed(movie, blob.hash)
    whole = path.read_bytes()
    ends = [*range(0, len(whole), 9_973), *range(len(whole) - 12, len(whole))]
    for data in [*(whole[:end] for end in ends), whole + b"\0", whole]:
        path.write_bytes(data)
        with movie.metadata.write() as writer:
            writer.blobs.forget([blob.hash])
        sound = data == whole
        assert movie.blobs.has(blob) is sound
        assert movie.blobs.has(blob.hash) is sound
        assert movie.blobs.damaged({blob.hash: blob.size}) == (set() if sound else {blob.hash})
        assert (blob.hash in {row[0] for row in movie.blobs.present()}) is sound
        if not sound:
            with pytest.raises(BlobCorruptError), movie.metadata.write() as writer:
                movie.blobs.revive(writer, [blob.hash])


def test_a_paid_result_waits_for_a_store_that_is_busy_for_long(
    tmp_path: Path, studio: LongStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than a writer waits for the lock."""
    monkeypatch.setattr(bounds, "BUSY_MAX_SECONDS", 0.1)
    monkeypatch.setattr(bounds, "RESULT_PAUSE_SECONDS", 0.05)
    refused = threading.Event()
    with open_store(tmp_path / "builds") as store, open_store(tmp_path / "builds") as other:
        movie = store.create_movie("small")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        held, holders = threading.Event(), list[threading.Thread]()

        def hold() -> None:
            with other.movie("small").metadata.write():
                held.set()
                refused.wait(1.0)

        def during(job: Job) -> None:
            if job.job_id == "film":
                holders.append(threading.Thread(target=hold))
                holders[0].start()
                held.wait(10)

        studio.during = during
        result = run(movie, studio)
        holders[0].join()
    assert result.status == "published"
    assert set(studio.calls.values()) == {1}


@pytest.mark.parametrize("anew", [False, True], ids=["nobody else", "another anew"])
def test_a_forced_result_whose_claim_was_lost_stands_before_what_was_there(
    movie: Movie, studio: LongStudio, anew: bool
) -> None:
    """It is paid for and new; only what the thief of its claim has made meanwhile goes before it."""
    studio.takes = {"draw[0]"}
    run(movie, studio)
    signature = movie.manifests.load("latest").artefacts["draw[0].image"].signature
    assert signature is not None
    node = next(node for node in plan_movie(movie).graph.nodes if node.job_id == "draw[0]")
    thief = movie.leases.start(movie.events.new_id(), base_revision="rev-0001", edits_through=0)
    writer = ResultWriter(
        movie.metadata, movie.blobs, movie.events.new_ids, movie.clock, thief, movie.archiver.keep_late
    )
    others = Outcome(node, signature, {"image": b"by another"}, {"image": "image/png"}, attempts=1)

    def steal(job: Job) -> None:
        if job.job_id == "draw[0]":
            with movie.metadata.write() as transaction:
                transaction.runs.claim(signature, thief, job.job_id, steal=True)
                if not anew:
                    transaction.runs.unclaim(signature, thief)
            if anew:
                storing = threading.Thread(target=lambda: asyncio.run(store_others()))
                storing.start()
                storing.join()

    async def store_others() -> None:
        assert (await writer.store(others)).ours

    studio.during = steal
    result = run(movie, studio, regen=["draw[0]"])
    assert result.status == "published"
    assert studio.calls["draw[0]"] == 2
    assert result.jobs["draw[0]"].cost == studio.cost
    assert result.jobs["draw[0]"].status == ("reused" if anew else "made")
    assert text(movie, "draw[0].image").startswith("by another" if anew else "image:draw(title=First) take 2")


def test_an_input_that_cannot_be_written_is_the_disks_fault_and_no_jobs(
    movie: Movie, studio: LongStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends by the name of what is wrong, no job has failed, and the next run goes on."""
    make = os.mkdir

    def failing(path: str | os.PathLike[str], mode: int = 0o777) -> None:
        if os.fspath(path).endswith("/inputs"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), os.fspath(path))
        make(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", failing)
        with pytest.raises(StoreUnavailableError, match="inputs/audio"):
            run(movie, studio)
    assert set(studio.calls) <= {f"{job}[{place}]" for job in ("say", "draw") for place in range(3)}
    before = studio.calls.copy()
    assert run(movie, studio).status == "published"
    assert not [job for job in before if studio.calls[job] != 1]
