"""What old documents say is kept as it was said, or refused by name: digits, texts, names, paths."""

from __future__ import annotations

import json
import unicodedata

import pytest

from renku_store import Store, migrate, plan_movie
from tests.migration.checking import Old

LARGE = 12345678901234567


def kinds(store: Store, old: Old) -> tuple[list[str], list[str], list[str]]:
    """The paths of what is missing, refused and torn."""
    (report,) = migrate(old.path, store).movies
    assert report.problem is None
    missing, refused, torn = ([item.path for item in items] for items in (report.missing, report.refused, report.torn))
    return missing, refused, torn


@pytest.mark.parametrize("number", [LARGE, 2**53, -(10**30), 2**63, 2**64 + 1, 10**400])
def test_no_digit_of_an_artefact_changes(number: int, old: Old, store: Store) -> None:
    """An integer of any size is in the bytes of the migrated document as it was in the line."""
    old.artefact("script", 0, content={"seed": number, "t": "é"})
    old.snapshot(0, "script", timeline={"seed": number})
    assert kinds(store, old) == ([], [], [])
    movie = store.movie("film")
    manifest, _ = movie.manifests.load_current()
    assert movie.read(manifest.artefacts["script"]) == f'{{"seed":{number},"t":"é"}}'.encode()
    assert movie.read(manifest.artefacts["timeline"]) == f'{{"seed":{number}}}'.encode()
    assert kinds(store, old) == ([], [], [])


def test_an_input_that_cannot_be_kept_is_refused_by_name(old: Old, store: Store) -> None:
    """Never rounded, and never taken for a torn line."""
    old.input("seed", 0, LARGE)
    old.input("temp", 0, float("nan"))
    old.input("topic", 0, "war")
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text", inputs=("seed", "temp", "topic"))
    assert kinds(store, old) == ([], ["input seed", "input temp"], [])
    inputs = store.movie("film").manifests.load_current()[0].inputs
    assert {"seed", "temp", "topic"} & {*inputs} == {"topic"}


def test_the_number_of_a_revision_may_be_text(old: Old, store: Store) -> None:
    """An edit whose line says `"rev": "1"` is an edit."""
    old.input("topic", 0, "war")
    old.append("dag/inputSources.jsonl", json.dumps({"id": "topic", "rev": "1", "content": "peace"}) + "\n")
    for rev in (0, 1):
        old.artefact("text", rev, content=f"{rev}")
        old.snapshot(rev, "text", inputs=("topic",))
    assert kinds(store, old) == ([], [], [])
    movie = store.movie("film")
    assert movie.value(movie.manifests.load_current()[0].inputs["topic"]) == "peace"


@pytest.mark.parametrize(
    ("line", "torn"),
    [
        (b'{"id": "topic", "rev": 1, "conte', True),
        (b'{"id": "topic", "rev": 1, "content": {"a": 1}', True),
        (b'{"id": "topic", "rev": 1, "content": "\xc3', True),
        (b'{"id": "topic", "rev": 1, "content": tru', True),
        (b"\0\0\0\0", True),
        (b'{"id": "topic", "rev": "first", "content": "peace"}', False),
        (b'{"id": "topic", "content": "peace"}', False),
        (b'{"rev": 1, "content": "peace"}', False),
        (b'{"id": "topic", "rev": 1}', False),
        (b'{"id": "topic", "rev": 1, "content": "\xff"}', False),
        (b'{"id": "topic", "rev": 1, "content": "peace",}', False),
        (b'["topic", 1, "peace"]', False),
    ],
)
def test_only_what_is_cut_off_is_torn(line: bytes, torn: bool, old: Old, store: Store) -> None:
    """A whole line that cannot be used is refused: somebody's edit is in it."""
    old.input("topic", 0, "war")
    path = old.path / "dag/inputSources.jsonl"
    path.write_bytes(path.read_bytes() + line)
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text", inputs=("topic",))
    place = ["dag/inputSources.jsonl:2"]
    assert kinds(store, old) == ([], [], place) if torn else ([], place, [])


def test_jobs_are_named_by_the_old_ids(old: Old, store: Store) -> None:
    """Numbers are those that people gave: a slash, which is not allowed here, adds none of its own."""
    old.write(
        "dag/producers.json",
        {"producers": [{"id": "voice", "inputs": [], "outputs": ["narration/0", "narration/1"]},
                       {"id": "clip", "inputs": ["voice"], "outputs": ["clips/0", "clips/1"]}]},
    )  # fmt: skip
    names = [f"{kind}/{at}" for kind in ("narration", "clips") for at in (0, 1)]
    for name in names:
        old.artefact(name, 0, content=name, produced_by="voice" if name.startswith("n") else "clip")
    old.snapshot(0, *names)
    assert kinds(store, old) == ([], [], [])
    nodes = {node.job_id: node for node in plan_movie(store.movie("film")).graph.nodes}
    assert nodes.keys() == {"voice[0]", "voice[1]", "clip[0]", "clip[1]"}
    assert [output.name for output in nodes["voice[1]"].produces] == ["narration"]
    (read,) = nodes["clip[1]"].inputs
    assert read.ref is not None
    assert read.ref.id == nodes["voice[1]"].produces[0].id


def test_asset_ids_of_clips_are_those_of_artefacts(old: Old, store: Store) -> None:
    """Where an id had to change, clips have the new one; what is no artefact's id stays."""
    old.put("assets/rev0/a.png", b"picture")
    old.put("assets/rev0/b.png", b"other")
    old.artefact("images/0", 0, "assets/rev0/a.png")
    clips = [
        {"imageAssetId": "images/0", "imageUrl": "assets/rev0/a.png", "musicAssetId": "x/y", "note": "images/0"},
        {"imageAssetId": "images/1", "imageUrl": "assets/rev0/b.png"},
    ]
    old.snapshot(0, "images/0", timeline={"clips": clips})
    assert kinds(store, old) == ([], [], [])
    movie = store.movie("film")
    manifest, _ = movie.manifests.load_current()
    found = json.loads(movie.read(manifest.artefacts["timeline"]))["clips"]
    new = next(key for key, held in manifest.artefacts.items() if movie.read(held) == b"picture")
    other = next(key for key, held in manifest.artefacts.items() if movie.read(held) == b"other")
    assert found[0] == {"imageAssetId": new, "imageUrl": {"artefact": new}, "musicAssetId": "x/y", "note": "images/0"}
    assert found[1] == {"imageAssetId": other, "imageUrl": {"artefact": other}}


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/builds/film/assets/rev0/a b.png", True),
        ("builds/film/assets/rev0/a b.png", True),
        ("file://assets/rev0/a%20b.png", True),
        ("file:///home/me/my builds/film/assets/rev0/a%20b.png", True),
        ("../film/assets/current/a b.png", True),
        ("/builds/film/assets/rev0/none.png", False),
        ("/builds/other/assets/rev0/a b.png", False),
        ("builds/other/assets/rev0/a b.png", False),
    ],
)
def test_no_path_into_a_revision_folder_is_left(path: str, there: bool, old: Old, store: Store) -> None:
    """However it begins: what is in this folder becomes a reference, the rest is null and told of."""
    old.put("assets/rev0/a b.png", b"picture")
    old.artefact("image", 0, "assets/rev0/a b.png")
    old.snapshot(0, "image", timeline={"clips": [{"url": path, "page": "https://a.b/film/assets/rev0/x"}]})
    missing, refused, torn = kinds(store, old)
    assert [*missing, *refused, *torn] == ([] if there else [path])
    movie = store.movie("film")
    (clip,) = json.loads(movie.read(movie.artefact("timeline")))["clips"]
    assert clip == {"url": {"artefact": "image"} if there else None, "page": "https://a.b/film/assets/rev0/x"}


def test_why_an_artefact_is_missing_is_true(old: Old, store: Store) -> None:
    """What lines say, if there are any."""
    old.artefact("later", 1, content="words")
    old.artefact("bare", 0)
    old.artefact("failed", 0, status="failed")
    old.artefact("odd", 0, content={"a": float("nan")})
    old.snapshot(0, "later", "bare", "failed", "odd", "none")
    (report,) = migrate(old.path, store).movies
    why = {item.artefact: item.why.removesuffix(" No clip has a file of it.") for item in report.missing}
    assert why == {
        "later": "Its lines begin with rev1: none says what it was here.",
        "bare": "Its newest line, of rev0, has neither content nor a path.",
        "failed": "Its newest line says that it failed, and no earlier one has the snapshot's label.",
        "odd": "Its newest line, of rev0, says what cannot be kept.",
        "none": "No line says what it is.",
    }


@pytest.mark.parametrize(("written", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_is_found_in_another_normal_form(written: str, asked: str, old: Old, store: Store) -> None:
    """Where the very name is not there, and one other is the same text; an exact name comes first."""
    old.put(unicodedata.normalize(written, "assets/rev0/é/ü.png"), b"picture")
    old.artefact("image", 0, unicodedata.normalize(asked, "assets/rev0/é/ü.png"))
    old.snapshot(0, "image")
    assert kinds(store, old) == ([], [], [])
    old.put(unicodedata.normalize(asked, "assets/rev0/é/ü.png"), b"exact")
    (report,) = migrate(old.path, store, movie="other").movies
    assert report.whole
    other = store.movie("other")
    assert other.read(other.artefact("image")) == b"exact"


def test_a_snapshot_that_says_nothing_is_told_of(old: Old, store: Store) -> None:
    """An empty object is no revision, and no revision is left out without a word."""
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text")
    old.write("dag/snapshots/rev1.json", {})
    assert kinds(store, old) == (["dag/snapshots/rev1.json"], [], [])
    assert store.movie("film").manifests.load_current()[0].revision == "rev-0001"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *((member, value) for member in ("artifact_hashes", "inputSource_hashes") for value in ([1, 2], "text", False)),
        *(("timeline", value) for value in ("text", 5, False)),
    ],
)
def test_a_part_of_a_snapshot_that_is_no_object_is_refused_by_name(
    member: str, value: object, old: Old, store: Store
) -> None:
    """The revision comes over without it, and the report says what it lacks."""
    old.artefact("text", 0, content="words")
    old.input("topic", 0, "war")
    held: tuple[str, ...] = () if member == "artifact_hashes" else ("text",)
    old.snapshot(0, *held, inputs=() if member == "inputSource_hashes" else ("topic",), **{member: value})
    (report,) = migrate(old.path, store).movies
    assert [(item.path, item.revision) for item in report.refused] == [(member, "rev0")]
    assert report.revisions == 1


def test_an_artefact_without_an_id_is_refused(old: Old, store: Store) -> None:
    """An empty name in a snapshot is none that could be kept."""
    old.snapshot(0, "")
    assert kinds(store, old) == ([], ["artifact_hashes"], [])
