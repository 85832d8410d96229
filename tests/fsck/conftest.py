"""A film with everything that a check looks at, made once and copied for each test; and the command line to mend it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from renku_cli.main import run
from renku_store import CheckReport, Manifest, Movie, check_movie, open_store

BLUEPRINT = """\
name: film
inputs:
  lines: {type: list, required: true}
  notes: {type: string, required: true}
loops:
  line: {over: lines}
producers:
  speak:
    for: [line]
    run: command
    argv: [sh, -c, 'head -c 5000 /dev/zero | tr "\\\\0" z > outputs/audio; cat request.json >> outputs/audio']
    inputs: {text: "lines[line]"}
    outputs: {audio: {mimeType: text/plain}}
  cut:
    run: command
    argv: [sh, -c, 'find inputs -type f | sort | xargs cat > outputs/video; echo {} > outputs/index']
    inputs: {audio: "speak[*].audio", notes: notes}
    outputs: {video: {mimeType: text/plain}, index: {mimeType: application/json}}
timeline: cut.index
"""


@dataclass(frozen=True)
class Said:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def tell(*arguments: str) -> Said:
    """Call the command line in this process."""
    out, err = io.BytesIO(), io.StringIO()
    text = io.TextIOWrapper(out, encoding="utf-8")
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(err):
        code = run(arguments)
        text.flush()
    return Said(code, out.getvalue().decode(), err.getvalue())


@dataclass(frozen=True)
class Film:
    """The folder of a movie `film` below a build root, nobody having it open."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "film"

    def manifest(self, number: int = 3) -> Manifest:
        return Manifest.read((self.folder / f"manifests/rev-{number:04d}.json").read_bytes())

    def blob(self, name: str, number: int = 3) -> Path:
        """The object of an artefact, or of an input, in a revision."""
        manifest = self.manifest(number)
        digest = (manifest.artefacts.get(name) or manifest.inputs[name]).hash
        return self.object(digest)

    def object(self, digest: str) -> Path:
        [path] = (self.folder / "blobs" / digest[:2]).glob(f"{digest}*")
        return path

    def sql(self, *statements: str) -> None:
        """Change rows behind everyone's back."""
        connection = apsw.Connection(str(self.folder / "metadata.db"))
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def ask(self, query: str) -> list[Any]:
        """Rows of the database."""
        connection = apsw.Connection(str(self.folder / "metadata.db"))
        rows = list(connection.execute(query))
        connection.close()
        return rows

    def rewrite(self, table: str, statement: str) -> None:
        """Change the rows of an append-only table, whose triggers are then as before."""
        connection = apsw.Connection(str(self.folder / "metadata.db"))
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?"
        triggers: list[Any] = list(connection.execute(query, (table,)))
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        assert connection.changes()
        for _, sql in triggers:
            connection.execute(sql)
        connection.close()

    def rows(self) -> dict[str, list[Any]]:
        """Every row of every table but that of verifications."""
        connection = apsw.Connection(str(self.folder / "metadata.db"))
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('verifications')"
        tables: list[Any] = list(connection.execute(query))
        found = {name: list(connection.execute(f"SELECT * FROM {name}")) for (name,) in tables}
        connection.close()
        return found

    def downgrade(self, schema: str) -> None:
        """Let the database be one that knows the first schema only."""
        rows, path = self.rows(), self.folder / "metadata.db"
        for part in self.folder.glob("metadata.db*"):
            part.unlink()
        connection = apsw.Connection(str(path))
        for _ in connection.execute(schema):
            pass
        connection.execute("DELETE FROM meta; DELETE FROM compaction; DELETE FROM sqlite_sequence")
        for (table,) in list(connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")):  # type: ignore[misc]
            width = len(list(connection.execute(f"PRAGMA table_info({table})")))
            places = ", ".join("?" * width)
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", [row[:width] for row in rows[table]])
        connection.pragma("application_id", 0x524E4B55)
        connection.pragma("user_version", 1)
        connection.pragma("journal_mode", "wal")
        connection.close()

    def now(self) -> datetime:
        return datetime.now(UTC)

    @contextlib.contextmanager
    def open(self) -> Iterator[Movie]:
        with open_store(self.root) as store:
            yield store.movie("film")

    def check(self, **options: Any) -> CheckReport:
        with open_store(self.root) as store, store.examine("film") as movie:
            return check_movie(movie, **options)

    def call(self, *arguments: str) -> Said:
        return tell("--root", str(self.root), *arguments)

    def obey(self, commands: str) -> None:
        """Do what a repair says, command by command, as a shell does whatever their exit codes are."""
        for command in commands.split(";"):
            program, *arguments = shlex.split(command)
            assert program == "renku-store"
            self.call(*arguments)

    def files(self) -> dict[str, bytes]:
        """Every file but those of the database, and locks, with its bytes."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not re.match(r"metadata\.db|locks", str(path.relative_to(self.folder)))
        }


def flip(path: Path, at: int = -20) -> None:
    """Change one byte of a file, and not its size."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def make_film(root: Path) -> Film:
    """Three revisions; the input `notes` is a blob, and so are all but the index of the artefacts."""
    source = root.parent / "film.yaml"
    source.write_text(BLUEPRINT)
    made = Film(root)
    for arguments in (
        ("init", "film", "--blueprint", str(source)),
        ("set", "lines", '["one", "two"]'),
        ("set", "notes", json.dumps("note " * 600)),
        ("run",),
        ("set", "lines[1]", "deux"),
        ("run",),
        ("set", "lines[0]", "un"),
        ("run",),
    ):
        said = made.call(*arguments)
        assert said.code == 0, said
    return made


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a film, not to be changed."""
    return make_film(tmp_path_factory.mktemp("fsck") / "root").root


@pytest.fixture
def film(original: Path, tmp_path: Path) -> Film:
    """A copy of the film."""
    shutil.copytree(original, tmp_path / "root")
    return Film(tmp_path / "root")
