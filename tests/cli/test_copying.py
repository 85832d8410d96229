"""`copy`: what it prints, its codes, and that the movies are there."""

from __future__ import annotations

from pathlib import Path

from renku_store import open_store
from tests.cli.conftest import Call


def test_copy_tells_what_went_over(call: Call, built: str, place: Path) -> None:
    """The fields of the contract; as a table; a second one finds all there."""
    foreseen = call("copy", "builds", "backup", "--dry-run", "--json").json
    assert not (place / "backup").exists()
    [copied] = call("copy", "builds", "backup", "--json").json["movies"]
    assert {**foreseen, "dryRun": False} == {"movies": [copied], "dryRun": False}
    assert (copied["id"], copied["revision"], copied["revisions"], copied["skipped"]) == (built, "rev-0001", 1, 0)
    assert copied["blobs"] == 1
    assert copied["bytes"] > 0
    assert call("--root", "backup", "cat", "book.text").out == call("cat", "book.text").out
    told = call("copy", "builds", "backup")
    assert told.code == 0
    assert told.out.splitlines() == [
        "movie\tnewest\trevisions\tblobs\tsize\tthere already",
        f"{built}\trev-0001\t0\t0\t0 B\t1",
        "Copied 0 revisions, 0 blobs, 0 B.",
    ]


def test_copy_takes_the_movie_that_the_call_names_and_no_setting(call: Call, built: str, place: Path) -> None:
    """`--movie` on the line chooses; a movie of the config file does not leave the others out of a backup."""
    assert call("init", "second").code == 0
    assert call("config", "movie", "second").code == 0
    assert [movie["id"] for movie in call("copy", "builds", "one", "--movie", built, "--json").json["movies"]] == [
        built
    ]
    assert len(call("copy", "builds", "all", "--json").json["movies"]) == 2
    refused = call("copy", "builds", "all", "--movie", "third", "--json")
    assert (refused.code, refused.error["kind"]) == (2, "NotFoundError")


def test_a_conflict_is_code_3_and_what_is_lost_code_4(call: Call, built: str, place: Path) -> None:
    """The document is printed all the same; the error is on standard error."""
    assert call("copy", "builds", "backup").code == 0
    assert call("--root", "backup", "set", "greeting", "mine").code == 0
    assert call("--root", "backup", "run").code == 0
    ended = call("copy", "builds", "backup", "--json")
    assert (ended.code, ended.error["kind"]) == (3, "ManifestConflictError")
    assert "rev-0002" in ended.error["message"]
    assert ended.json["movies"][0]["problem"]["kind"] == "ManifestConflictError"
    with open_store(place / "builds") as store:
        driver = store.driver.sub(built)
        [blob] = [found.name for found in driver.list("blobs/")]
        driver.delete(blob)
    lost = call("copy", "builds", "elsewhere")
    assert lost.code == 4
    assert Path(blob).name.removesuffix(".zst") in lost.err
    assert "rev-0001" in lost.err


def test_a_root_is_not_copied_to_itself(call: Call, built: str) -> None:
    """Bad use."""
    assert call("copy", "builds", "./builds").code == 2


def test_a_source_without_movies_is_bad_use(call: Call, built: str, place: Path) -> None:
    """A name that was mistyped must not look like a backup that was made; nor must a folder that is empty."""
    (place / "empty").mkdir()
    for source in ("nonesuch", "empty", f"builds/{built}"):
        ended = call("copy", source, "backup", "--json")
        assert (ended.code, ended.out, ended.error["kind"]) == (2, "", "NotFoundError")
        assert source in ended.error["message"]
    assert not (place / "nonesuch").exists()
    assert not (place / "backup").exists()


def test_a_newest_revision_that_is_lost_is_code_4(call: Call, built: str, place: Path) -> None:
    """What `current.json` still names is not passed over in silence."""
    assert call("set", "greeting", "mine").code == 0
    assert call("run").code == 0
    (place / "builds" / built / "manifests" / "rev-0002.json").unlink()
    ended = call("copy", "builds", "backup", "--json")
    assert (ended.code, ended.error["kind"]) == (4, "BlobMissingError")
    assert "rev-0002" in ended.error["message"]
    [copied] = ended.json["movies"]
    assert [lost["object"] for lost in copied["uncopied"]] == ["manifests/rev-0002.json"]
    assert copied["revision"] == "rev-0001"
