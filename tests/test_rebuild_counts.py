"""What a rebuild costs, counted: syncs whatever there is, and records of old events only where no archive has them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import apsw

from renku_store import ArtefactEvent, ArtefactValue, Movie, Store, hash_bytes, open_store
from renku_store.durability import listening
from renku_store.metadata.sqlite.checks import BY_ID

NOW = "2026-01-01T00:00:00.000Z"
DURABLE = ("file sync", "folder sync", "database commit", "database schema", "database close")


def _event(movie: Movie, number: int, run: str) -> ArtefactEvent:
    text = f"{run} {number}"
    value = ArtefactValue(hash=hash_bytes(text.encode()), size=len(text), mime_type="text/plain", inline=text)
    return ArtefactEvent(
        id=movie.events.new_id(), run=run, artefact=f"clip[{number}]", status="succeeded", value=value, created_at=NOW
    )


def _film(store: Store, name: str, events: int) -> None:
    """A movie of a revision with so many archived events, and a run of two that has not ended."""
    with store.create_movie(name) as movie:
        run = movie.events.new_id()
        movie.events.append_many([_event(movie, number, run) for number in range(events)])
        manifest = movie.manifests.build_from_events("rev-0001", run=run)
        movie.manifests.save_manifest(manifest, previous_hash=None)
        left = movie.events.new_id()
        movie.events.append_many([_event(movie, number, left) for number in range(2)])


def _costs(store: Store, name: str) -> tuple[list[int], int]:
    """How often each durable step is taken, and how many old events are made into records."""
    steps: Counter[str] = Counter()
    statements: dict[object, object] = {}
    rows = 0

    def traced(event: dict[str, object]) -> None:
        nonlocal rows
        if event["code"] == apsw.SQLITE_TRACE_STMT:
            statements[event["id"]] = event["sql"]
        else:
            rows += statements.get(event["id"]) in BY_ID.values()

    def hook(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT | apsw.SQLITE_TRACE_ROW, traced)

    apsw.connection_hooks.append(hook)
    try:
        with listening(lambda moment, step: steps.update([step] * (moment == "after"))):
            rebuilt = store.rebuild(name)
    finally:
        apsw.connection_hooks.remove(hook)
    assert rebuilt.salvaged == 2
    return [steps[step] for step in DURABLE], rows


def test_a_rebuild_waits_for_the_disk_as_often_whatever_there_is(tmp_path: Path) -> None:
    """And makes records of what only the old database has: two events, and the step of the run that had published."""
    with open_store(tmp_path / "root") as store:
        _film(store, "small", 10)
        _film(store, "large", 3_000)
        small, large = _costs(store, "small"), _costs(store, "large")
    assert small == large
    syncs, rows = large
    assert rows == 3
    assert syncs[0] == 2, "the epoch, and the new file as a whole before it gets its name"
