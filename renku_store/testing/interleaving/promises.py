"""What may never happen, not even for a moment: looked at whenever an object comes, changes or goes.

Invariant 5 (a manifest is created once, and what it names is there until it expires), 7 (the pointer never goes back),
8 (a live row has its object) and 9 (what was made sure of stays for the grace time). Written apart from the code that
keeps them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import orjson

from renku_store.testing.interleaving.fleet import Fleet
from renku_store.testing.interleaving.machine import Machine

_BLOB: Final = re.compile(r"blobs/../([0-9a-f]{64})(?:\.zst)?")
_MANIFEST: Final = re.compile(r"manifests/rev-\d+\.json")
_STATE: Final = "SELECT state FROM blobs WHERE hash = ?"
_INTENTS: Final = "SELECT manifest FROM intents"
_NAMED: Final = (
    "SELECT 'an edit' FROM input_events AS e JOIN pending_inputs AS p ON p.seq = e.seq WHERE e.blob = ?1 UNION ALL"
    " SELECT 'an edit' FROM artefact_events AS e JOIN pending_artefacts AS p ON p.seq = e.seq WHERE e.blob = ?1"
    " UNION ALL SELECT 'an unfinished run' FROM artefact_events AS e JOIN runs AS r ON r.run = e.run"
    " WHERE e.blob = ?1 AND r.status NOT IN ('published', 'abandoned') AND r.elsewhere = 0"
)


def watch(machine: Machine) -> None:
    """Look at every change of the storage from now on; a broken promise is an `AssertionError` in whoever breaks it."""
    machine.storage.watchers.append(_WatchFleet(machine) if isinstance(machine, Fleet) else _Watch(machine))


class _Watch:
    """The promises of one machine, whose rows are promises, too."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __call__(self, name: str, data: bytes | None) -> None:
        blob = _BLOB.fullmatch(name)
        if blob is not None:
            if data is None:
                self._about_to_go(blob[1])
        elif _MANIFEST.fullmatch(name):
            self._manifest(name, data)
        elif name == "current.json":
            self._pointer(data)

    def _about_to_go(self, digest: str) -> None:
        objects = self._machine.storage.objects
        naming = [name for name in objects if _MANIFEST.fullmatch(name) and digest in _named(objects[name][0])]
        assert not naming, f"5: {naming[0]} names the blob {digest}, which is being removed"
        promised = self._machine.promises.get(digest)
        now = self._machine.timeline.unix_seconds()
        assert promised is None or promised <= now, f"9: {digest} is removed {(promised or 0) - now} seconds too early"
        self._by_rows(digest)

    def _by_rows(self, digest: str) -> None:
        query, key = self._machine.database.query, bytes.fromhex(digest)
        state = query(_STATE, key)
        assert state != [("live",)], f"8: the row of {digest} is live, and its object is being removed"
        for (manifest,) in query(_INTENTS):
            assert digest not in _named(manifest), f"9: an intent names the blob {digest}, which is being removed"
        named = query(_NAMED, key)
        assert not named, f"3: {named[0][0]} names the blob {digest}, which is being removed"

    def _manifest(self, name: str, data: bytes | None) -> None:
        objects = self._machine.storage.objects
        present = objects.get(name)
        assert data is not None, f"5: {name} is being removed"
        if _is_stub(data):
            return
        assert present is None or present[0] == data, f"5: {name} is created a second time, with other bytes"
        there = {match[1] for match in map(_BLOB.fullmatch, objects) if match}
        assert _named(data) <= there, f"5: {name} names {_named(data) - there}, which is not there"

    def _pointer(self, data: bytes | None) -> None:
        present = self._machine.storage.objects.get("current.json")
        assert data is not None, "7: current.json is being removed"
        before = orjson.loads(present[0])["revision"] if present else ""
        after = orjson.loads(data)["revision"]
        assert before <= after, f"7: current.json goes back from {before} to {after}"


class _WatchFleet(_Watch):
    """The promises of machines that share objects alone: a row says what its machine still wants, and no more."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._databases = fleet.databases

    def _by_rows(self, digest: str) -> None:
        for name, database in self._databases.items():
            for (manifest,) in database.query(_INTENTS):
                assert digest not in _named(manifest), f"9: an intent {name} names {digest}, which is being removed"
            named = database.query(_NAMED, bytes.fromhex(digest))
            assert not named, f"3: {named[0][0]} {name} names the blob {digest}, which is being removed"


@lru_cache(maxsize=256)
def _named(manifest: bytes) -> frozenset[str]:
    """The blobs of a manifest without pages."""
    document: dict[str, Any] = orjson.loads(manifest)
    values = [*document.get("inputs", {}).values(), *document.get("artefacts", {}).values()]
    return frozenset(value["blob"] for value in values if value.get("blob")) | frozenset(
        filter(None, [document.get("graph")])
    )


@lru_cache(maxsize=256)
def _is_stub(manifest: bytes) -> bool:
    return bool(orjson.loads(manifest).get("expired"))
