"""Roots on file systems of fsspec, as far as their guarantees go."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from renku_store import (
    InvalidValueError,
    StoreUnavailableError,
    UnsafeDriverError,
    open_store,
    probe_root,
)
from renku_store.drivers.base import Driver
from renku_store.drivers.guarding import KEPT
from renku_store.drivers.objects.fsspec_client import FsspecClient, creates_exclusively
from renku_store.drivers.objects.opening import open_fsspec
from renku_store.testing.driver_suite import DriverSuite


class BucketFileSystem(MemoryFileSystem):
    """A file system with exclusive creation, as those of object storages have it, and objects of its own."""

    protocol = "bucket"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    _creating = threading.Lock()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("bucket://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        with self._creating:
            super().pipe_file(path, value, mode=mode, **options)


class PlainFileSystem(LocalFileSystem):
    """A folder of this machine as any file system: it can only look and then write."""

    protocol = "plain"


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    fsspec.register_implementation("bucket", f"{__name__}.BucketFileSystem", clobber=True)
    fsspec.register_implementation("plain", f"{__name__}.PlainFileSystem", clobber=True)


@pytest.fixture(autouse=True)
def _empty() -> None:
    BucketFileSystem.store.clear()
    BucketFileSystem.pseudo_dirs[:] = [""]


class TestExclusive(DriverSuite):
    """The suite on a file system with exclusive creation; what replaces is arbitrated on this machine alone."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Driver:
        return open_fsspec("bucket://films/2026", {"cache": tmp_path})

    def test_the_guarantees_hold_that_the_protocols_rest_on(self, driver: Driver) -> None:
        """All but conditional replacement."""
        found = driver.guarantees
        assert found.atomic_create
        assert found.strong_listing
        assert not found.compare_and_swap
        assert not found.shared_index


class TestPlain(DriverSuite):
    """The suite on a file system without exclusive creation: the processes of one machine arbitrate by locks."""

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Driver:
        guarded = open_fsspec(f"plain://{tmp_path}/root", {"cache": tmp_path / "cache"})
        return guarded.gate.driver

    def test_the_guarantees_hold_that_the_protocols_rest_on(self, driver: Driver) -> None:
        """It says that it has none that hold among machines."""
        found = driver.guarantees
        assert not found.atomic_create
        assert not found.compare_and_swap

    # What such a file system writes over, others see half written: one more reason for which it is refused.
    test_a_replacement_is_never_half_seen = None  # type: ignore[assignment]
    test_no_swap_is_lost_among_racing_writers = None  # type: ignore[assignment]
    # Two who find a name free both write it.
    test_batches_at_once_share_names_without_harm = None  # type: ignore[assignment]


def test_a_file_system_with_exclusive_creation_holds_movies(tmp_path: Path) -> None:
    """The probe accepts it and says what it does without; two machines see one movie."""
    report = probe_root("bucket://films", cache=tmp_path / "here")
    assert report.safe
    assert any("current.json" in said for said in report.weaker)
    assert report.via == "tests"
    with open_store("bucket://films", cache=tmp_path / "here") as store:
        digest = store.create_movie("film").blobs.put(b"x" * 5_000).hash
    with open_store("bucket://films", cache=tmp_path / "there") as store:
        assert store.ids() == ["film"]
        assert store.movie("film").blobs.read(digest) == b"x" * 5_000
    assert not [name for name in BucketFileSystem.store if "probe" in name]


def test_a_file_system_without_exclusive_creation_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    """Nothing is written, by the declaration alone; reading works."""
    root = tmp_path / "root"
    with open_store(root) as store:
        digest = store.create_movie("film").blobs.put(b"x" * 5_000).hash
    (root / "film" / "metadata.db").unlink()
    before = sorted(root.rglob("*"))
    with open_store(f"plain://{root}", cache=tmp_path / "cache") as store:
        assert store.ids() == ["film"]
        assert store.movie("film").blobs.read(digest) == b"x" * 5_000
        with pytest.raises(UnsafeDriverError) as error:
            store.create_movie("another")
    assert "cannot create an object only if there is none of that name (exclusive creation)" in error.value.message
    assert "PostgreSQL" in error.value.hint
    assert sorted(root.rglob("*")) == before
    assert b"exclusive creation" in next((tmp_path / "cache").rglob(KEPT)).read_bytes()


@pytest.mark.parametrize(
    ("kind", "exclusive"),
    [(S3FileSystem, True), (MemoryFileSystem, True), (LocalFileSystem, False), (HTTPFileSystem, True)],
)
def test_what_a_file_system_inherits_is_no_exclusive_creation(kind: type[Any], exclusive: bool) -> None:
    """Only what its own code says; whether that is true, the probe finds out."""
    options = {"anon": True} if kind is S3FileSystem else {}
    assert creates_exclusively(kind(skip_instance_cache=True, **options)) is exclusive


def test_conditions_that_a_file_system_lacks_are_never_dropped(tmp_path: Path) -> None:
    """A client asked for one refuses; it does not write without it."""
    client = FsspecClient(LocalFileSystem(skip_instance_cache=True), str(tmp_path), "plain://x")
    for condition in ({"if_absent": True}, {"if_match": '"tag"'}):
        with pytest.raises(UnsafeDriverError):
            client.put("x", b"x", **condition)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named() -> None:
    """With what fsspec says about it."""
    with pytest.raises(StoreUnavailableError) as error:
        open_store("gcs://bucket/videos")
    assert "gcs:// roots need a package that is not installed" in error.value.message
    assert "gcsfs" in error.value.message
    assert "pip install" in error.value.hint


@pytest.mark.parametrize(
    ("url", "options", "kind"),
    [
        ("bucket://me:hunter2@films", {}, InvalidValueError),
        ("sftp://me:hunter2@host/videos", {}, InvalidValueError),
        ("broken://films", {"passwort": "hunter2"}, InvalidValueError),
        ("broken://films", {}, StoreUnavailableError),
    ],
)
def test_what_cannot_be_opened_is_named_without_secrets(url: str, options: dict[str, Any], kind: type) -> None:
    """A password in a URL, options that the file system does not know, a file system that fails as it likes."""

    class Broken(MemoryFileSystem):
        def __init__(self, **options: Any) -> None:
            if "passwort" in options:
                raise TypeError("unexpected keyword argument 'passwort'")
            raise ZeroDivisionError("no connection")

    fsspec.register_implementation("broken", Broken, clobber=True)
    with pytest.raises(kind) as error:
        open_fsspec(url, options)
    assert "hunter2" not in error.value.message + error.value.hint
    assert error.value.message.endswith(".")


def test_whatever_a_file_system_raises_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the object in it; a write that may have happened is read back."""

    class TroubleError(Exception):
        pass

    driver = open_fsspec("bucket://films", {"cache": tmp_path}).gate.driver

    def fails(*_: object, **__: object) -> None:
        raise TroubleError("the moon is full")

    for method in ("info", "cat_file", "pipe_file", "find", "ls", "rm_file"):
        driver.replace("x", b"x")
        with monkeypatch.context() as patch:
            patch.setattr(BucketFileSystem, method, fails)
            with pytest.raises(StoreUnavailableError, match=r"bucket://films.*the moon is full"):
                {
                    "info": lambda: driver.stat("x"),
                    "cat_file": lambda: driver.read("x"),
                    "pipe_file": lambda: driver.replace("x", b"y"),
                    "find": lambda: list(driver.list("")),
                    "ls": lambda: list(driver.children("")),
                    "rm_file": lambda: driver.delete("x"),
                }[method]()

    real = BucketFileSystem.pipe_file

    def loses_the_reply(self: BucketFileSystem, path: str, value: bytes, mode: str = "overwrite") -> None:
        real(self, path, value, mode)
        if mode == "create":
            raise TimeoutError("no answer")

    monkeypatch.setattr(BucketFileSystem, "pipe_file", loses_the_reply)
    assert driver.create("lost", b"ours")
    assert not driver.create("lost", b"theirs")
    assert driver.read("lost") == b"ours"


def test_a_read_is_whole_although_the_object_changes_after_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system tells the size in another request than the one that brings the bytes."""
    driver = open_fsspec("bucket://films", {"cache": tmp_path}).gate.driver
    real = BucketFileSystem.info
    for before, after in ((b"short", b"longer than it was"), (b"longer than it is", b"short")):
        driver.replace("x", before)

        def replaced(self: BucketFileSystem, path: str, data: bytes = after, **options: Any) -> Any:
            found = real(self, path, **options)
            MemoryFileSystem.pipe_file(self, path, data)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(BucketFileSystem, "info", replaced)
            assert driver.read("x") == after


def test_an_upload_that_arrives_damaged_is_removed_and_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where looks tell tags and writes do not, as those of Google and Azure: it is not taken for another's."""
    driver = open_fsspec("bucket://films", {"cache": tmp_path}).gate.driver
    look, write = BucketFileSystem.info, BucketFileSystem.pipe_file
    written: list[bytes] = []

    def damages_the_first(self: BucketFileSystem, path: str, value: bytes, mode: str = "overwrite") -> None:
        written.append(value)
        write(self, path, value if len(written) > 1 else b"\0" * len(value), mode)

    def with_tags(self: BucketFileSystem, path: str, **options: Any) -> Any:
        return look(self, path, **options) | {"ETag": "etag"}

    monkeypatch.setattr(BucketFileSystem, "pipe_file", damages_the_first)
    monkeypatch.setattr(BucketFileSystem, "info", with_tags)
    with driver.batch() as batch:
        staged = batch.stage()
        staged.write(b"the film")
        batch.name(staged, "x")
        assert batch.commit() == frozenset()
    assert driver.read("x") == b"the film"
    assert written == [b"the film"] * 2


def test_two_accounts_with_one_url_have_two_workspaces(tmp_path: Path) -> None:
    """What a machine remembers of a container says nothing of another account's of that name."""

    class Account(BucketFileSystem):
        def __init__(self, account_name: str | None = None, connection_string: str | None = None, **_: Any) -> None:
            super().__init__()
            self.account_name = account_name
            self.connection_string = connection_string

    fsspec.register_implementation("account", Account, clobber=True)
    places = [
        open_fsspec("account://films/2026", {"cache": tmp_path, **options}).workspace()
        for options in (
            {},
            {"account_name": "ours"},
            {"account_name": "theirs"},
            {"connection_string": "AccountName=ours;AccountKey=hunter2"},
            {"connection_string": "AccountName=theirs;AccountKey=hunter2"},
            {"connection_string": "AccountName=theirs;AccountKey=another"},
        )
    ]
    assert len(set(places)) == 5
    assert places[-1] == places[-2]
    assert "hunter2" not in str(places)
