"""The threat model: each claim of SECURITY.md, tried as somebody who would have it otherwise.

Forged movies are consistent: their hashes are right, as whoever can write to a root can make them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from tests.authoring import lose_database
from tests.cli.conftest import Call, call, place
from tests.roots import KINDS

__all__ = ["call", "place"]

_TOP = Path(__file__).resolve().parents[1]
_PAGE = (_TOP / "SECURITY.md").read_text(encoding="utf-8")
_BLUEPRINT = """\
name: film
inputs:
  text: {type: string, default: hello}
producers:
  job:
    run: command
    argv: [sh, -c, 'touch "$LEDGER"; cat request.json > outputs/page; echo {} > outputs/index']
    inputs: {text: text}
    outputs: {page: {mimeType: text/plain}, index: {mimeType: application/json}}
timeline: job.index
"""
_READING = (["inspect"], ["log"], ["stats"], ["cat", "job.page"], ["plan"], ["events"], ["timeline"], ["movies"])
Manifest = dict[str, Any]
Forge = Callable[[Manifest, Path], object]


def _hash(data: bytes) -> str:
    return blake3(data).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _put(movie: Path, digest: str, data: bytes, suffix: str = "") -> str:
    path = movie / "blobs" / digest[:2] / (digest + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


def _packed(pattern: bytes, size: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    step = pattern * (1_048_576 // len(pattern))
    parts = [packer.compress(step) for _ in range(size // len(step))]
    return b"".join([*parts, packer.flush()])


def _text(text: str, mime_type: str = "text/plain") -> dict[str, Any]:
    return {"hash": _hash(text.encode()), "size": len(text.encode()), "mimeType": mime_type, "inline": text}


@pytest.fixture
def movie(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a movie with one revision."""
    monkeypatch.setenv("LEDGER", str(place / "called"))
    (place / "film.yaml").write_text(_BLUEPRINT)
    assert call("init", "film", "--blueprint", "film.yaml").code == 0
    assert call("run").code == 0
    (place / "called").unlink()
    return place / "builds" / "film"


def _forge(movie: Path, change: Forge) -> None:
    """Change the only manifest and make everything that depends on it agree; what only this machine knew goes."""
    path = movie / "manifests" / "rev-0001.json"
    manifest = json.loads(path.read_bytes())
    change(manifest, movie)
    artefacts = {key: [value["hash"], value["mimeType"]] for key, value in manifest.get("artefacts", {}).items()}
    inputs = {key: value["hash"] for key, value in manifest["inputs"].items()}
    hashed = {"artefacts": artefacts, "inputs": inputs, "timeline": manifest["timeline"]}
    manifest["contentHash"] = _hash(_canonical(hashed))
    data = _canonical(manifest)
    path.write_bytes(data)
    pointer = {"revision": "rev-0001", "manifest": "manifests/rev-0001.json", "hash": _hash(data), "updatedAt": "now"}
    (movie / "current.json").write_bytes(_canonical(pointer))
    for database in movie.glob("metadata.db*"):
        database.unlink()


def _below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "builds" not in path.relative_to(folder).parts}


# The page itself


def test_every_test_that_the_page_names_is_there() -> None:
    """A claim whose test goes has to go, or to be tested anew."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _PAGE))
    assert len(named) > 15
    for path, name in named:
        assert re.search(rf"^ *(async )?def {name}\(", (_TOP / path).read_text(encoding="utf-8"), re.MULTILINE), name


def test_every_claim_of_the_page_names_its_test() -> None:
    """What nobody tests is not promised: each row of the tables of claims ends with a test."""
    rows = [line for line in _PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| claim", "|---"))]
    assert len(rows) > 15
    assert [row for row in rows if "::" not in row.rpartition(" | ")[2] and "::" not in row.split(" | ")[-1]] == []


# Blueprints


def test_looking_at_a_hostile_movie_runs_nothing(call: Call, place: Path) -> None:
    """Only `run` (and `demo`) call programs and import modules that a blueprint names."""
    (place / "evil.py").write_text("import pathlib\npathlib.Path('imported').touch()\ndef make(request): return b''\n")
    producer = "  other:\n    run: python:evil.make\n    outputs: {page: {mimeType: text/plain}}\n"
    (place / "film.yaml").write_text(_BLUEPRINT.replace("timeline:", producer + "timeline:"))
    assert call("init", "film", "--blueprint", "film.yaml").code == 0
    for command in (
        ["plan"],
        ["explain"],
        ["status"],
        ["inspect"],
        ["log"],
        ["fsck"],
        ["gc", "--dry-run"],
        ["rebuild"],
    ):
        assert call(*command).code in {0, 2}, command
    assert not (place / "imported").exists()
    assert "evil" not in sys.modules
    assert not (place / "called").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "more than 1000000 values",
        ),
        ("producers: " + "[" * 100_000, "nest deeper"),
        ("a: !!python/object/apply:os.system [touch called]\n", "tag"),
        ("x: " + "y" * (4 * 1_048_576 + 1), "more than 4194304 bytes"),
    ],
    ids=["billion laughs", "depth", "a tag that calls", "size"],
)
def test_a_hostile_yaml_is_refused(text: str, told: str, call: Call, place: Path) -> None:
    """Before it costs memory or time, and with the line."""
    (place / "film.yaml").write_text(text)
    called = call("init", "film", "--blueprint", "film.yaml", "--json")
    assert called.code == 2
    assert told in called.error["message"]
    assert not (place / "called").exists()


def test_loops_that_multiply_are_refused_before_they_are_expanded(call: Call, place: Path) -> None:
    """Four loops of a hundred elements in each other ask for a hundred million jobs: nothing is begun."""
    loops = "".join(f"  l{number}: {{over: items}}\n" for number in range(4))
    (place / "film.yaml").write_text(
        "name: film\ninputs:\n  items: {type: list, required: true}\nloops:\n" + loops + "producers:\n"
        "  job:\n    for: [l0, l1, l2, l3]\n    run: command\n    argv: ['true']\n"
        "    inputs: {a: 'items[l0]'}\n    outputs: {page: {mimeType: text/plain}}\n"
    )
    assert call("init", "film", "--blueprint", "film.yaml").code == 0
    assert call("set", "items", json.dumps(list(range(100)))).code == 0
    called = call("plan", "--json")
    assert called.code == 2
    assert "2000000" in called.error["message"]


# Manifests and buckets

_PATHS = ["../../../evil", "/evil", "..", "a/../../evil", "con", "\x1b[2Jevil", "a\x00evil", ".renku-export.json"]


def _with_ids(manifest: Manifest, movie: Path) -> None:
    manifest["artefacts"] |= {name: _text(f"text {name!r}") for name in _PATHS}


def _with_types(manifest: Manifest, movie: Path) -> None:
    types = ["text/../../evil", "text/plain; name=/../evil", "a\x00b/c", "x" * 10_000]
    manifest["artefacts"] |= {f"a{place}": _text("text", one) for place, one in enumerate(types)}


@pytest.mark.parametrize("change", [_with_ids, _with_types], ids=["ids", "MIME types"])
def test_an_export_of_forged_names_stays_in_its_folder(change: Forge, call: Call, place: Path, movie: Path) -> None:
    """Ids and types that look like paths become names of files in the folder, and control characters go."""
    _forge(movie, change)
    before = _below(place)
    exported = call("export", "latest", "out/plain", "--json")
    assert exported.code == 0
    written = _below(place) - before - {place / "out", place / "out/plain"}
    assert {path.parent for path in written} == {place / "out/plain"}
    assert len(written) >= exported.json["files"]
    assert all(path.name.isprintable() for path in written)
    assert json.loads((place / "out/plain/.renku-export.json").read_bytes())


def test_forged_ids_do_not_steer_the_terminal(call: Call, movie: Path) -> None:
    """Escape sequences in ids are shown as text."""
    _forge(movie, _with_ids)
    shown = call("inspect")
    assert shown.code == 0
    assert "\x1b" not in shown.out + shown.err
    assert "\\x1b[2Jevil" in shown.out


def _run_elsewhere(manifest: Manifest, movie: Path) -> None:
    manifest["run"] = "../../../evil"


def _archive_elsewhere(manifest: Manifest, movie: Path) -> None:
    manifest["archive"] = {"name": "../../../etc/passwd", "hash": _hash(Path("/etc/passwd").read_bytes())}


def _huge_size(manifest: Manifest, movie: Path) -> None:
    manifest["artefacts"]["job.page"]["size"] = 10**30


def _another_revision(manifest: Manifest, movie: Path) -> None:
    manifest["revision"] = "rev-999999999999"


@pytest.mark.parametrize(
    "change",
    [_run_elsewhere, _archive_elsewhere, _huge_size, _another_revision],
    ids=["run", "archive", "size", "revision"],
)
def test_a_forged_manifest_is_called_damaged(change: Forge, call: Call, movie: Path) -> None:
    """What would lead outside the movie, or beyond any number, ends in exit code 4 and a sentence with its name."""
    _forge(movie, change)
    for command in (["inspect"], ["log"], ["export", "latest", "plain"], ["gc"], ["fsck"], ["copy", "builds", "other"]):
        called = call(*command)
        assert called.code == 4, (command, called.err)
        assert "rev-0001" in called.out + called.err, command


def _odd_numbers(manifest: Manifest, movie: Path) -> None:
    manifest["metrics"] = {"made": -5, "reused": 2**53, "cost": -1e308, "saved": 1e308}
    manifest["createdAt"] = "99999-99-99T00:00:00.000Z"


def test_forged_numbers_and_times_break_nothing(call: Call, movie: Path) -> None:
    """What is only shown is shown, or named; nothing ends in a fault of the program."""
    _forge(movie, _odd_numbers)
    for command in (*_READING, ["fsck"], ["gc"], ["prune", "--keep-last", "1"], ["prune", "--within", "1d"]):
        assert call(*command).code in {0, 2, 4}, command


def _another_text(manifest: Manifest, movie: Path) -> None:
    manifest["artefacts"]["job.page"] = _text("what nobody had made")


def test_a_forged_revision_has_another_hash(call: Call, movie: Path) -> None:
    """It can be consistent, and still not be the one whose hash somebody has noted."""
    (noted,) = call("log", "--json").json
    assert call("fsck").code == 0
    _forge(movie, _another_text)
    assert call("cat", "job.page").out == "what nobody had made"
    (forged,) = call("log", "--json").json
    assert forged["revision"] == noted["revision"]
    assert forged["hash"] != noted["hash"]


def test_a_database_in_a_bucket_is_not_read(
    request: pytest.FixtureRequest, call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies there under its name: the index of this machine comes from the other objects."""
    monkeypatch.setenv("LEDGER", str(place / "called"))
    (place / "film.yaml").write_text(_BLUEPRINT)
    with KINDS["s3"].make(request) as root:
        monkeypatch.setenv("RENKU_STORE_ROOT", root.url)
        assert call("init", "film", "--blueprint", "film.yaml").code == 0
        assert call("run").code == 0
        for name in ("metadata.db", "metadata.db-wal"):
            assert root.driver().create(name, b"SQLite format 3\0" + b"not what it seems" * 999)
        lose_database(root, "film")
        for command in (*_READING, ["fsck"], ["rebuild"], ["run"]):
            called = call(*command)
            assert (called.code, "damage" in called.err) == (0, False), (command, called.err)
        assert call("run", "--json").json["status"] == "unchanged"


def test_a_pointer_leads_nowhere_but_to_the_manifest_of_its_revision(call: Call, movie: Path) -> None:
    """`current.json` names a path that is not looked at: the revision says which manifest it is."""
    pointer = json.loads((movie / "current.json").read_bytes())
    (movie / "current.json").write_bytes(_canonical({**pointer, "manifest": "../../../etc/passwd"}))
    assert call("inspect", "--json").json["revision"] == "rev-0001"


def _graph_that_is_none(manifest: Manifest, movie: Path) -> None:
    data = b"[" * 100_000
    manifest["graph"] = _put(movie, _hash(data), data)


def test_a_graph_that_is_none_costs_reasons_and_nothing_else(call: Call, movie: Path) -> None:
    """Its hash is right and its content is not a graph: the plan does without it."""
    _forge(movie, _graph_that_is_none)
    assert call("plan").code == 0
    assert call("run", "--json").json["made"] == 0


# Blobs


def _lying_bomb(manifest: Manifest, movie: Path) -> None:
    data = _packed(b"\0", 64 * 1_048_576)
    digest = _put(movie, _hash(b"seven b"), data, ".zst")
    manifest["artefacts"]["job.page"] = {"hash": digest, "size": 7, "mimeType": "text/plain", "blob": digest}


def test_a_frame_that_gives_more_than_was_promised_is_refused(call: Call, place: Path, movie: Path) -> None:
    """A frame of 64 MiB under the name of seven bytes: never handed out, never written, and the copy stops."""
    _forge(movie, _lying_bomb)
    for command in (["cat", "job.page"], ["export", "latest", "plain"], ["fsck"], ["copy", "builds", "other"]):
        called = call(*command)
        assert called.code == 4, (command, called.err)
        assert len(called.out) < 10_000
    assert not [path for path in (place / "plain").glob("*") if path.stat().st_size > 1_000_000]


def _hungry_frame(manifest: Manifest, movie: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    data = b"x" * (1 << 20)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=1 << 28)
    frame = b"".join([packed.compress(data) for _ in range(1 << 8)] + [packed.flush()])
    digest = _put(movie, _hash(b"x"), frame, ".zst")
    manifest["artefacts"]["job.page"] = {"hash": digest, "size": 1 << 28, "mimeType": "video/mp4", "blob": digest}


def test_a_frame_that_asks_for_much_memory_is_refused(call: Call, movie: Path) -> None:
    """A window of 128 MiB is not allowed by the format, and not allocated."""
    _forge(movie, _hungry_frame)
    called = call("cat", "job.page")
    assert called.code == 4
    assert "bytes of memory" in called.err


def test_too_little_memory_is_told_as_such(monkeypatch: pytest.MonkeyPatch, call: Call, movie: Path) -> None:
    """A document that does not fit is no fault of the program: exit code 5, and nothing is changed."""
    import renku_store

    def no_memory(*_: object, **__: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(renku_store.BlobStore, "read", no_memory)
    monkeypatch.setattr(renku_store.Movie, "read", no_memory)
    called = call("export", "latest", "plain", "--json")
    assert called.code == 5
    assert called.error["kind"] == "StoreUnavailableError"
