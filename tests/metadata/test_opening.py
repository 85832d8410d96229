"""Opening: the rules of the connection, the versions that are refused, and roots where nothing may be written."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from renku_store import bounds
from renku_store.errors import DamageError, StoreUnavailableError, UnsupportedFormatError
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from renku_store.metadata.sqlite.blank import blank_database
from tests.metadata.samples import input_event


def _fill(path: Path, *names: str) -> SqliteMetadata:
    store = open_sqlite(path)
    with store.write() as writer:
        writer.events.append([input_event(name, name) for name in names])
    return store


def _tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("recursive_triggers", 1),
        ("trusted_schema", 0), ("temp_store", 2), ("fullfsync", 1), ("checkpoint_fullfsync", 1),
    ],
)  # fmt: skip
def test_the_connection_keeps_its_rules(store: SqliteMetadata, name: str, value: object) -> None:
    """Commits are durable, references hold, and the file is not trusted."""
    assert store.connection.pragma(name) == value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1), (apsw.SQLITE_DBCONFIG_DQS_DML, 0), (apsw.SQLITE_DBCONFIG_DQS_DDL, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0), (apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1),
    ],
)  # fmt: skip
def test_the_connection_is_on_the_defensive(store: SqliteMetadata, option: int, value: int) -> None:
    """Nobody reaches the inner tables, loads code, or gets a text for a column that is not there."""
    assert store.connection.config(option, -1) == value


def test_the_file_is_marked_as_ours(path: Path) -> None:
    """The header names the application, which `file` and other tools show."""
    open_sqlite(path).close()
    assert path.read_bytes()[68:72] == b"RNKU"


def test_an_older_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite below the bound is named, and no file is created."""
    monkeypatch.setattr(bounds, "SQLITE_MIN_VERSION", (99, 0, 0))
    with pytest.raises(StoreUnavailableError, match=rf"SQLite {apsw.sqlite_lib_version()} .* 99\.0\.0 or newer"):
        open_sqlite(path)
    assert not path.exists()


def test_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`:memory:` is a database of its own that leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    first, second = _fill(Path(":memory:"), "a"), open_sqlite(Path(":memory:"))
    with first.read() as ours, second.read() as theirs:
        assert ours.events.latest_input("a") is not None
        assert theirs.events.latest_input("a") is None
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_made_anew_has_a_later_epoch(path: Path) -> None:
    """Tokens of before a rebuild are smaller than those after it."""
    first = _fill(path)
    first.close()
    again = open_sqlite(path)
    assert again.epoch == first.epoch
    again.close()
    path.unlink()
    anew = open_sqlite(path)
    assert anew.epoch > first.epoch
    anew.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_damage(path: Path, read_only: bool) -> None:
    """Whatever else lies under the name is reported, with the way out, and left as it is."""
    path.write_bytes(b"What is this? " * 1_000)
    with pytest.raises(DamageError, match=r"metadata\.db is damaged"):
        open_sqlite(path, read_only=read_only)
    assert path.read_bytes() == b"What is this? " * 1_000


@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_of_another_program_is_refused(path: Path, read_only: bool) -> None:
    """Tables that we did not make are not built upon, and not changed."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE shopping (item TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedFormatError, match="another program"):
        open_sqlite(path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message has the path in it."""
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        open_sqlite(tmp_path / "nowhere" / "metadata.db")


def test_reading_what_is_not_there_is_an_error(path: Path) -> None:
    """Reading creates nothing."""
    with pytest.raises(StoreUnavailableError, match="is not there"):
        open_sqlite(path, read_only=True)
    assert list(path.parent.iterdir()) == []


def test_reading_a_database_at_rest_leaves_no_trace(path: Path) -> None:
    """No file is created, changed or touched beside a database that was closed properly."""
    _fill(path, "a").close()
    before = _tree(path.parent)
    store = open_sqlite(path, read_only=True)
    with store.read() as reader:
        assert reader.events.latest_input("a") is not None
        assert _tree(path.parent) == before
    with pytest.raises(StoreUnavailableError, match="for reading only"), store.write():
        pass
    store.close()
    assert _tree(path.parent) == before


def test_reading_after_a_crash_sees_what_was_committed_and_leaves_no_trace(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the log of a writer that died is read from a private copy, which goes when the store is closed."""
    living = _fill(path, "a", "b")
    crashed = tmp_path / "crashed"
    shutil.copytree(path.parent, crashed)
    living.close()
    (crashed / "metadata.db-shm").unlink()
    assert (crashed / "metadata.db-wal").stat().st_size > 0
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    before = _tree(crashed)
    store = open_sqlite(crashed / "metadata.db", read_only=True)
    with store.read() as reader:
        assert set(reader.events.latest_inputs()) == {"a", "b"}
    assert list(private.iterdir())
    with pytest.raises(StoreUnavailableError, match="for reading only"), store.write():
        pass
    store.close()
    assert list(private.iterdir()) == []
    assert _tree(crashed) == before


def test_a_database_that_is_made_as_bytes_is_the_one_that_is_made_in_its_place(tmp_path: Path) -> None:
    """The same tables, marks and first rows; and whoever opens it changes nothing but the log beside it."""
    made, written = tmp_path / "made.db", tmp_path / "written.db"
    open_sqlite(made, epoch=lambda: 7).close()
    written.write_bytes(blank_database(lambda: 7))
    with closing(open_sqlite(written)) as store:
        assert store.epoch == 7
        assert "wal" in store.connection.pragma("journal_mode")
        assert store.connection.pragma("integrity_check") == "ok"
    assert _told(written) == _told(made)
    assert blank_database(lambda: 8) != blank_database(lambda: 7) == blank_database(lambda: 7)


def _told(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        pragmas = ("application_id", "user_version", "page_size", "encoding", "auto_vacuum", "journal_mode")
        found: list[object] = [connection.execute(f"PRAGMA {name}").fetchone() for name in pragmas]
        tables = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid").fetchall()
        rows = {
            name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
            for kind, name, *_ in tables
            if kind == "table"
        }
    return [*found, tables, rows]
