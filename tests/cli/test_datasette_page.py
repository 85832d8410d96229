"""The SQL of the page on Datasette, asked as Datasette asks it: by an SQLite of its own that only reads."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import BLUEPRINT, Call

_PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/datasette.md").read_text(encoding="utf-8")
_BLOCK = re.search(r"^```yaml file=queries.yaml\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
assert _BLOCK is not None
_QUERIES: dict[str, dict[str, Any]] = yaml.safe_load(_BLOCK[1])["databases"]["metadata"]["queries"]


def _ask(place: Path, query: str, **parameters: str) -> list[dict[str, Any]]:
    path = place / "builds" / "tiny" / "metadata.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        assert sorted(_QUERIES[query].get("params", [])) == sorted(parameters)
        return [dict(row) for row in database.execute(_QUERIES[query]["sql"], parameters)]


@pytest.mark.usefixtures("built")
def test_every_query_of_the_page_has_an_answer(call: Call, place: Path) -> None:
    """What was made, what it took, what waits and what failed."""
    assert {row["producer"]: row["calls"] for row in _ask(place, "what_producers_cost")} == {"word": 3, "book": 1}
    assert [(row["number"], row["made"]) for row in _ask(place, "what_revisions_took")] == [(1, 4)]
    assert [row["status"] for row in _ask(place, "the_life_of_an_artefact", artefact="book.text")] == ["succeeded"]
    assert _ask(place, "what_failed") == _ask(place, "edits_nobody_has_taken") == []

    (place / "page.txt").write_text("a page by hand\n" * 1_000)
    assert call("set", "greeting", "hi").code == 0
    assert call("edit", "word[1].text", "@page.txt").code == 0
    waiting = _ask(place, "edits_nobody_has_taken")
    assert [row["id"] for row in waiting] == ["greeting", "word[1].text"]
    (bytes_by_type,) = _ask(place, "where_the_bytes_are")
    assert (bytes_by_type["mime_type"], bytes_by_type["bytes"]) == ("text/plain", 15_000)

    (place / "broken.yaml").write_text(BLUEPRINT.replace("find inputs", "exit 3; find inputs"))
    assert call("run", "--blueprint", "broken.yaml").code == 1
    assert [(row["job"], row["kind"]) for row in _ask(place, "what_failed")] == [("book", "ProducerError")] * 2
    assert len(_ask(place, "the_life_of_an_artefact", artefact="word[1].text")) > 1


def test_the_page_names_the_views_there_are(place: Path, built: str) -> None:
    """Each view of the database has its row in the table."""
    path = place / "builds" / built / "metadata.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        views = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    assert views == set(re.findall(r"^\| `(\w+)` \|", _PAGE, re.MULTILINE))


@pytest.mark.usefixtures("built")
def test_the_sql_beside_the_queries_is_right(place: Path) -> None:
    """The look-up by hash is answered from an index."""
    block = re.search(r"^```sql\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    sql = block[1].replace("...", "00" * 29)
    with closing(sqlite3.connect(f"file:{place / 'builds/tiny/metadata.db'}?mode=ro", uri=True)) as database:
        assert database.execute(sql).fetchall() == []
        assert "INDEX traces_by_signature" in str(database.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall())
