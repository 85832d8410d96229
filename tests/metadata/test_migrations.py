"""Migrations: whatever the way, the same schema; all or nothing; and nothing newer than ours is touched."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from renku_store.errors import UnsupportedFormatError
from renku_store.metadata.sqlite import open_sqlite
from renku_store.metadata.sqlite.migrations import Migration, shipped_migrations
from tests.metadata.samples import input_event

SHIPPED = shipped_migrations()
NEXT = Migration(
    len(SHIPPED) + 1,
    f"{len(SHIPPED) + 1:04d}_notes.sql",
    "CREATE TABLE notes (text TEXT NOT NULL) STRICT; SELECT 1 UNION ALL SELECT 2;"
    " ALTER TABLE blobs ADD COLUMN note TEXT;"
    " INSERT INTO notes (text) VALUES ('made');",
)


def _schema(path: Path) -> tuple[int, list[object]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = list(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"))
    version = connection.pragma("user_version")
    connection.close()
    return version, rows


def test_the_steps_are_numbered_without_gaps() -> None:
    """The files are 0001, 0002 and so on."""
    assert [step.number for step in SHIPPED] == list(range(1, len(SHIPPED) + 1))


@pytest.mark.parametrize("oldest", range(1, len(SHIPPED) + 1))
def test_every_older_schema_becomes_the_present_one(tmp_path: Path, oldest: int) -> None:
    """A database of any version, with events in it, has the schema of a new one after it was opened, and its events."""
    path = tmp_path / "old.db"
    old = open_sqlite(path, migrations=SHIPPED[:oldest])
    with old.write() as writer:
        writer.events.append([input_event("a", 1)])
    old.close()
    every = [*SHIPPED, NEXT]
    migrated = open_sqlite(path, migrations=every)
    with migrated.read() as reader:
        assert reader.events.latest_input("a") is not None
    assert migrated.epoch == old.epoch
    migrated.close()
    open_sqlite(tmp_path / "new.db", migrations=every).close()
    assert _schema(path) == _schema(tmp_path / "new.db")
    assert _schema(path)[0] == len(every)


@pytest.mark.parametrize("oldest", range(1, len(SHIPPED) + 1))
def test_a_process_of_an_older_version_that_is_at_work_keeps_its_tables(tmp_path: Path, oldest: int) -> None:
    """What it has paid for must be stored: a newer version that opens the movie takes no table or column from it."""
    path = tmp_path / "old.db"
    old = open_sqlite(path, migrations=SHIPPED[:oldest])
    columns = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    before = set(old.connection.execute(columns))
    open_sqlite(path).close()
    assert before <= set(old.connection.execute(columns))
    with old.write() as writer:
        writer.events.append([input_event("a", 1)])
    old.close()


def test_opening_again_changes_nothing(path: Path) -> None:
    """A step runs once."""
    for _ in range(3):
        open_sqlite(path, migrations=[*SHIPPED, NEXT]).close()
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM notes").get == 1
    connection.close()


def test_a_step_that_fails_leaves_the_older_schema(path: Path) -> None:
    """Of several steps all run, or none."""
    open_sqlite(path).close()
    before = _schema(path)
    broken = Migration(NEXT.number + 1, "broken.sql", "CREATE TABLE more (x INT); CREATE TABLE more (x INT);")
    with pytest.raises(apsw.SQLError, match="already exists"):
        open_sqlite(path, migrations=[*SHIPPED, NEXT, broken])
    assert _schema(path) == before
    open_sqlite(path, migrations=[*SHIPPED, NEXT]).close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_schema_is_refused_in_clear_words(path: Path, read_only: bool) -> None:
    """A database of a newer version is left alone; the sentence has both numbers."""
    open_sqlite(path, migrations=[*SHIPPED, NEXT]).close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedFormatError, match=f"schema {len(SHIPPED) + 1}, .* up to {len(SHIPPED)}") as caught:
        open_sqlite(path, read_only=read_only)
    assert "Upgrade" in caught.value.hint
    assert path.read_bytes() == before


def test_an_older_schema_on_a_read_only_root_is_read_from_an_upgraded_copy(path: Path) -> None:
    """Reading needs the present schema, and may not write it into the root."""
    open_sqlite(path).close()
    before = path.read_bytes()
    store = open_sqlite(path, read_only=True, migrations=[*SHIPPED, NEXT])
    assert store.connection.execute("SELECT count(*) FROM notes").get == 1
    store.close()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["metadata.db"]


def test_many_openers_of_a_new_database_agree(path: Path) -> None:
    """One of them makes the schema, the others find it; all have the same epoch."""
    epochs: list[int] = []

    def opened() -> None:
        store = open_sqlite(path, migrations=[*SHIPPED, NEXT], busy_seconds=30)
        epochs.append(store.epoch)
        store.close()

    threads = [threading.Thread(target=opened) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(epochs) == 8
    assert len(set(epochs)) == 1
