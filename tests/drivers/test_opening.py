"""From the name of a root to its driver: schemes, options, drivers of other packages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renku_store import InvalidValueError, StoreUnavailableError, UnsafeDriverError, open_store, probe_root
from renku_store.drivers.guarding import GuardedDriver
from renku_store.drivers.opening import SCHEMES, open_driver
from renku_store.drivers.urls import without_secrets
from tests import children
from tests.authoring import publish, texts
from tests.roots import Root


def offer(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Install a package that offers a driver for `shelf://`."""
    (folder / "shelves.py").write_text(source)
    about = folder / "shelves-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[renku_store.drivers]\nshelf = shelves:open_shelf\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "shelves", raising=False)


SHELVES = """
from renku_store.drivers.local import LocalDriver

class Shelf(LocalDriver):
    asked = []

def open_shelf(url, options):
    Shelf.asked.append((url, dict(options)))
    return Shelf(options["below"] + "/" + url.partition("://")[2])
"""


def test_a_driver_of_another_package_is_found_by_its_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the URL and the options as they are."""
    offer(tmp_path, monkeypatch, SHELVES)
    with open_store("shelf://top/left", below=str(tmp_path)) as store:
        publish(store.create_movie("film"), {"a": "one"})
        assert isinstance(store.driver, GuardedDriver)
        shelf: Any = type(store.driver.gate.driver)
        assert shelf.asked == [("shelf://top/left", {"below": str(tmp_path)})]
    assert not (tmp_path / "top/left/probe.json").exists()
    with open_store(tmp_path / "top/left") as store:
        assert texts(store.movie("film")) == {"a": "one"}


CLAIMING = """
from renku_store.drivers.local import LocalDriver

class Shelf(LocalDriver):
    def create(self, name, data):
        self.replace(name, data)
        return True

    def sub(self, prefix):
        return Shelf(f"{self.url}/{prefix.rstrip('/')}")

def open_shelf(url, options):
    return Shelf(url.partition("://")[2])
"""


def test_a_driver_of_another_package_that_claims_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it creates atomically, and lets every creator win: it is tried out before the first write."""
    offer(tmp_path, monkeypatch, CLAIMING)
    root = tmp_path / "root"
    with open_store(root) as store:
        publish(store.create_movie("film"), {"a": "one"})
    before = {path for path in root.rglob("*") if path.is_file()}
    with open_store(f"shelf://{root}") as store:
        assert store.ids() == ["film"]
        with pytest.raises(UnsafeDriverError, match="16 of 16 that created one name"):
            store.create_movie("another")
    report = probe_root(f"shelf://{root}")
    assert (report.safe, report.via) == (False, "shelves 1.0")
    assert {path for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("source", ["import nowhere_to_be_found", "raise OSError(2, 'gone')", "open_other = 1"])
def test_a_driver_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """With the entry point that offers it."""
    offer(tmp_path, monkeypatch, source)
    with pytest.raises(StoreUnavailableError, match="shelf://") as caught:
        open_store("shelf://x")
    assert "shelves:open_shelf" in caught.value.hint


def test_a_root_of_an_unknown_kind_is_refused_with_those_there_are() -> None:
    """The hint lists the schemes that come along."""
    with pytest.raises(StoreUnavailableError, match=r"no driver for nowhere://") as caught:
        open_store("nowhere://host/x")
    assert all(f"{scheme}://" in caught.value.hint for scheme in SCHEMES)


@pytest.mark.parametrize("url", ["file://{}", "file://localhost{}", "FILE://{}/"])
def test_a_file_url_is_the_folder_that_it_names(tmp_path: Path, url: str) -> None:
    """Escapes are read; what is not text stays as it is."""
    folder = tmp_path / "with space ü"
    with open_store(folder) as store:
        publish(store.create_movie("film"), {"a": "one"})
    quoted = str(folder).replace(" ", "%20")
    with open_store(url.format(quoted)) as store:
        assert texts(store.movie("film")) == {"a": "one"}
        assert store.root == store.movie("film").root == str(folder)


@pytest.mark.parametrize(
    "url", ["file://host/x", "file://", "file:///x?a=b", "file:///x#y", "memory://x?a=b", "memory://a@b"]
)
def test_urls_that_name_nothing_here_are_refused(url: str) -> None:
    """Another machine's folder, options in the URL where there are none."""
    with pytest.raises(InvalidValueError, match="://"):
        open_driver(url)


def test_chained_urls_are_refused() -> None:
    """They would be taken for the path of a folder."""
    with pytest.raises(InvalidValueError, match="not a root"):
        open_store("simplecache::s3://user:secret@bucket/x")


@pytest.mark.parametrize("url", ["builds", "file:///builds", "memory://builds"])
def test_an_option_that_the_driver_does_not_know_is_refused(url: str) -> None:
    """By its name; folders and memory have none."""
    with pytest.raises(InvalidValueError, match="has no option endpoint"):
        open_store(url, endpoint="http://127.0.0.1:1")


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    """Only a scheme at its beginning makes a URL."""
    for name in ("a:b", "a::b", "deep/x:/y"):
        assert open_driver(str(tmp_path / name)).url == str(tmp_path / name)


@pytest.mark.parametrize("url", ["1st://host/x", "-://x", "://x", "no scheme://me:hunter2@host/x?key=hunter2"])
def test_what_only_looks_like_a_url_is_refused(url: str) -> None:
    """It would be taken for the path of a folder; one of such a name can be said otherwise."""
    with pytest.raises(InvalidValueError, match="is not a root") as caught:
        open_store(url)
    assert "hunter2" not in caught.value.message
    assert open_driver(f"./{url}").url == str(Path.cwd() / url)


def test_a_scheme_may_hold_an_underscore() -> None:
    """Some of fsspec's do."""
    with pytest.raises(StoreUnavailableError, match="arrow_hdfs"):
        open_store("arrow_hdfs://host/x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("local:///tmp/x", "local:///tmp/x"),
        ("memory:///x?key=hunter2", "memory:///x"),
        ("S3://bucket/videos#hunter2", "s3://bucket/videos"),
        ("ftp://me:hunter2@host:21/a@b", "ftp://host:21/a@b"),
        ("ftp://me@[::1/x", "ftp://[::1/x"),
        ("s3://bucket?endpoint=http://me:hunter2@host/x", "s3://bucket"),
        ("x://\nhost", "x://host"),
        ("a/path?with#marks", "a/path?with#marks"),
    ],
)
def test_a_url_is_shown_as_it_was_given_without_what_may_be_secret(url: str, shown: str) -> None:
    """An empty host stays one."""
    assert without_secrets(url) == shown


@pytest.mark.parametrize("root", ["a\0b", "file:///tmp/a%00b", "s3://bucket/videos"])
def test_a_root_that_no_path_can_be_is_refused(root: str, tmp_path: Path) -> None:
    """A NUL character ends every path of the system: in a folder's name, a URL, and that of the cache."""
    cache = {"cache": f"{tmp_path}/a\0b"} if root.startswith("s3:") else {}
    uses: tuple[Callable[..., object], ...] = (open_store, probe_root)
    for use in uses:
        with pytest.raises(InvalidValueError, match="NUL"):
            use(root, **cache)


def test_a_store_of_a_url_names_it_as_its_root(any_root: Root) -> None:
    """What a movie says of its root opens the same one."""
    with open_store(any_root) as store:
        publish(store.create_movie("film"), {"a": "one"})
        root = store.movie("film").root
    with open_store(root) as store:
        assert texts(store.movie("film")) == {"a": "one"}


LAZY = """
    import sys
    from renku_store import open_store
    with open_store(sys.argv[1]) as store, open_store("memory://") as other:
        store.create_movie("film"), other.create_movie("film")
    print(sorted({"fsspec", "s3fs", "obstore", "botocore"} & set(sys.modules)))
"""


def test_what_object_storage_needs_is_not_imported_for_a_folder(tmp_path: Path) -> None:
    """It takes longer to import than to run a command."""
    ended = children.run(LAZY, tmp_path / "root")
    assert (ended.code, ended.out) == (0, "[]\n"), ended.err
