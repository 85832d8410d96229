"""What opening a movie and looking at it costs, counted: the same whatever came before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from renku_store import ArtefactEvent, Movie, hash_bytes, open_store
from renku_store.records.manifest import ArtefactValue

SHORT, LONG = 3, 40
LOOKS = {
    "open": "None",
    "inspect": "movie.manifests.load_current()",
    "log": "list(islice(movie.manifests.history(), 2))",
    "tags": "movie.tags.by_revision()",
}
COUNTING = """
import json, sys
from itertools import islice
import apsw
from renku_store import open_store

statements, steps, opened = [], [], []

def traced(event):
    statements.append(event["sql"])
    steps.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

def noted(event, given):
    if event == "open" and root in str(given[0]):
        opened.append(given[0])

apsw.connection_hooks.append(lambda connection: connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, traced))
root, name = sys.argv[1:]
with open_store(root) as store:
    sys.addaudithook(noted)
    with store.movie(name) as movie:
        LOOK
print(json.dumps([len(statements), sum(steps), len(opened)]))
"""


def _publish(movie: Movie, revisions: int) -> None:
    digest = None
    for number in range(1, revisions + 1):
        run = movie.events.new_id()
        movie.events.append_many([_event(movie, run, f"{number}.{job}") for job in range(10)])
        manifest = movie.manifests.build_from_events(f"rev-{number:04d}", run=run)
        digest = movie.manifests.save_manifest(manifest, previous_hash=digest).hash


def _event(movie: Movie, run: str, text: str) -> ArtefactEvent:
    value = ArtefactValue(hash=hash_bytes(text.encode()), size=len(text), mime_type="text/plain", inline=text)
    return ArtefactEvent(
        id=movie.events.new_id(),
        run=run,
        artefact=f"clip[{text.partition('.')[2]}]",
        status="succeeded",
        value=value,
        created_at="2026-01-01T00:00:00.000Z",
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two movies, one of which has a history."""
    root = tmp_path_factory.mktemp("histories")
    with open_store(root) as store:
        for name, revisions in (("short", SHORT), ("long", LONG)):
            with store.create_movie(name) as movie:
                _publish(movie, revisions)
    return root


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_look_at_a_movie_costs_does_not_depend_on_its_history(root: Path, look: str) -> None:
    """As many statements, steps of SQLite's machine and files opened for 40 revisions as for 3."""
    code = COUNTING.replace("LOOK", LOOKS[look])
    counts = {}
    for name in ("short", "long"):
        done = subprocess.run([sys.executable, "-c", code, str(root), name], capture_output=True, text=True, check=True)
        counts[name] = json.loads(done.stdout)
    assert counts["long"] == counts["short"]
    statements, steps, opened = counts["long"]
    assert 0 < statements <= 45
    assert steps <= 400
    assert opened <= 12
