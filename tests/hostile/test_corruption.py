"""Any bytes at any place of any kind of file in a movie: a right answer or a named error, never wrong bytes.

Invariants 1, 5 and 6. What only the database holds has no checksum of its own; there nothing but the published counts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    DamageError,
    Movie,
    RetentionPolicy,
    Store,
    StoreError,
    check_movie,
    collect,
    export_revision,
    movie_status,
    open_store,
    plan_movie,
    prune,
    set_inputs,
    tag_revision,
)
from renku_store.records.manifest import Expiry
from renku_store.trash import put_marks
from tests.authoring import LONG, artefact_event, publish
from tests.crash.operations import BLUEPRINT, run, small_bounds
from tests.test_gc import age

REVISIONS = [f"rev-{number:04d}" for number in range(1, 5)]
KINDS = {
    "format": "format.json",
    "pointer": "current.json",
    "manifest": "manifests/rev-000[234].json",
    "stub": "manifests/rev-0001.json",
    "mark": "manifests/*.expired.json",
    "raw blob": "blobs/*/" + "?" * 64,
    "packed blob": "blobs/*/*.zst",
    "archive": "events/*",
    "plan": "runs/*",
    "tag": "tags/*",
    "database": "metadata.db",
    "log": "metadata.db-wal",
}


@dataclass(frozen=True)
class Damage:
    """What happens to the bytes of a file, at a part of its length."""

    how: str
    at: float
    junk: bytes

    def done_to(self, data: bytes) -> bytes:
        """The damaged bytes."""
        place = int(self.at * len(data))
        if self.how == "flip":
            return (
                data[:place]
                + bytes(a ^ (b or 1) for a, b in zip(data[place:], self.junk, strict=False))
                + data[place + len(self.junk) :]
            )
        if self.how == "cut":
            return data[:place]
        if self.how == "replace":
            return self.junk
        return data[:place] + self.junk + data[place + (len(self.junk) if self.how == "overwrite" else 0) :]


DAMAGE = st.builds(
    Damage,
    st.sampled_from(["flip", "flip", "overwrite", "insert", "cut", "replace"]),
    st.floats(0, 1, exclude_max=True),
    st.one_of(st.binary(min_size=1, max_size=32), st.sampled_from([b"{}", b"null", b"[", b"\n", b" ", bytes(1024)])),
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A movie with every kind of file: a stub, a revision in the trash, pages, a tag, an edit in the log only."""
    folder = tmp_path_factory.mktemp("corruption")
    with small_bounds():
        with open_store(folder / "made") as store:
            movie = store.create_movie("film")
            set_inputs(movie, {"@blueprint": BLUEPRINT, "title": "one", "voice": "first"})
            run(movie)
            movie.blobs.put(bytes(range(256)) * 40)
            more = {f"c[{place}].out": f"{place}" for place in range(4)}
            for number in range(2, 5):
                noise = "".join(chr(0x4E00 + (place * place * number) % 20_000) for place in range(1_500))
                publish(movie, {"own.out": f"{number} {LONG}", "noise.out": noise, **more}, {"voice": f"{number}"})
            manifest, digest = movie.manifests.load_with_hash("rev-0001")
            old = (datetime.now(UTC) - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            put_marks(movie.driver, [Expiry(revision=manifest.revision, hash=digest, expired_at=old, why="old")])
            age(movie, 30 * 86_400)
            collect(movie, force=True)
            prune(movie, RetentionPolicy(), expire=["rev-0002"])
            tag_revision(movie, "rev-0003", "cut")
        with open_store(folder / "made") as store:
            movie = store.movie("film")
            movie.events.append_input("voice", "pending")
            movie.events.append_artefact(artefact_event(movie, "late.out", "late " + LONG))
            shutil.copytree(folder / "made", folder / "template", ignore=shutil.ignore_patterns("*-shm"))
    return folder / "template"


def published(movie: Movie, place: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Questions whose answers rest on what was published."""
    for revision in REVISIONS[1:]:
        yield f"inspect {revision}", lambda revision=revision: movie.manifests.load(revision).to_json()
        for artefact in ("own.out", "noise.out", "c[2].out", "say.out"):
            yield (
                f"cat {artefact} {revision}",
                lambda artefact=artefact, revision=revision: movie.read(movie.artefact(artefact, revision)),
            )
    yield "log", lambda: [(manifest.revision, digest) for manifest, digest in movie.manifests.revisions()]
    yield "export", lambda: _exported(movie, place)


def _exported(movie: Movie, place: Path) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        export_revision(movie, "rev-0003", Path(folder, "out"))
        # Its own notes name the times of the files.
        return {path.name: path.read_bytes() for path in Path(folder).rglob("[!.]*") if path.is_file()}


def live(movie: Movie) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Questions that the database answers."""
    yield "events", lambda: [event.to_json() for event in movie.events.stream()]
    yield "status", lambda: [edit.to_json() for edit in movie_status(movie).pending]


def others(movie: Movie) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Questions whose answer damage may change: what is damaged is to be made anew."""
    yield "plan", lambda: plan_movie(movie)
    plans = [path.name.removesuffix("-plan.json") for path in Path(movie.root, movie.id, "runs").iterdir()]
    yield "plans", lambda: [movie.plans.load(run) for run in plans]
    yield "tags", lambda: movie.tags.all()
    yield "trash", lambda: [movie.manifests.expiry(revision) for revision in REVISIONS]
    yield "fsck", lambda: check_movie(movie)


class Answers(dict[str, Any]):
    """Answers by question; shown in short, as hypothesis shows what a failing example was given."""

    def __repr__(self) -> str:
        return f"<{len(self)} answers>"


def asked(questions: Iterator[tuple[str, Callable[[], Any]]]) -> dict[str, Any]:
    """The answers; an error of the house is one, any other is none."""
    answers: dict[str, Any] = {}
    for name, question in questions:
        try:
            answers[name] = question()
        except StoreError as error:
            answers[name] = error
    return answers


def wrong(answers: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """The questions that were answered, and otherwise than before."""
    return [name for name, said in answers.items() if not isinstance(said, StoreError) and said != right[name]]


@pytest.fixture(scope="module")
def right(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of the sound movie."""
    place = tmp_path_factory.mktemp("right")
    shutil.copytree(template, place / "root")
    with open_store(place / "root") as store:
        movie = store.movie("film")
        answers = asked(published(movie, place)) | asked(live(movie))
        assert not any(isinstance(answer, StoreError) for answer in asked(others(movie)).values())
    missing = {name for name, answer in answers.items() if isinstance(answer, StoreError)}
    assert missing == set()
    return Answers(answers)


def _ask_all(store: Store, place: Path, right: dict[str, Any], kind: str) -> bool:
    """Ask everything; whether the database was said to be damaged."""
    try:
        movie = store.movie("film")
    except StoreError as error:
        return isinstance(error, DamageError)
    answers = asked(published(movie, place))
    told = asked(live(movie))
    checked = answers if kind in {"database", "log"} else answers | told
    assert wrong(checked, right) == []
    rest = asked(others(movie))
    return any(isinstance(answer, DamageError) for answer in {**told, **rest}.values())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=max(10, settings.default.max_examples // 4))
@given(damage=DAMAGE, which=st.integers(0, 1_000))
def test_damage_anywhere_is_told_or_does_not_matter(
    template: Path, right: dict[str, Any], kind: str, damage: Damage, which: int
) -> None:
    """By opening, or by whoever asks; a damaged database can be made anew, and all that was published is back."""
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        place, root = Path(folder), Path(folder, "root")
        shutil.copytree(template, root)
        files = sorted((root / "film").glob(KINDS[kind]))
        path = files[which % len(files)]
        path.write_bytes(damage.done_to(path.read_bytes()))
        with open_store(root) as store:
            damaged = _ask_all(store, place, right, kind)
        if damaged and kind in {"database", "log"}:
            with open_store(root) as store:
                store.rebuild("film")
                answers = asked(published(store.movie("film"), place))
            assert {name: answers[name] for name in answers if answers[name] != right[name]} == {}
