"""An old state as the newest revision: nothing is made, nothing is taken back, the history only grows.

    events that restore -> archive -> intent -> manifest -> pointer -> rows

Keeps invariant 11: until its manifest exists a rollback is an abandoned run, whatever it was cut off at, so that no run
takes it up; from then on it is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from renku_store.clock import timestamp
from renku_store.commit import PublishedRevision
from renku_store.encoding import named_blobs
from renku_store.errors import BlobMissingError, ManifestConflictError
from renku_store.movie import Movie
from renku_store.projection import edits_reflected, next_manifest
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, Event, InputEvent, RunEvent
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestArtefact, ManifestInput

_TRIES: Final = 5
"""How often others may publish in between; each try is a matter of milliseconds."""
_BY: Final = "rollback"


def rollback(movie: Movie, revision: str) -> PublishedRevision | None:
    """Publish the state of an old revision (`rev-0003`, `3`) as the newest one; None where that is the state already.

    Inputs, artefacts, graph and timeline become those of the old revision, its content hash included; no producer is
    called. Movie-wide edits that no run has taken stay pending: the next run takes them. Not those that were taken back
    before, as the newest revision showed them already. If someone else publishes meanwhile, it goes on top of that.

    Raises `NotFoundError` for an unknown or expired revision, `BlobMissingError` or `BlobCorruptError` for what is not
    there any more (then nothing is published), `ManifestConflictError` if others publish again and again.
    """
    name = movie.manifests.resolve(revision)
    old = movie.manifests.load(name)
    _check_present(movie, old)
    for tries in range(_TRIES):
        current, base_hash = movie.manifests.load_current()
        if _state(current) == _state(old):
            return None
        try:
            return _publish(movie, old, current, base_hash)
        except ManifestConflictError:
            if tries == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _state(manifest: Manifest) -> tuple[object, ...]:
    return manifest.content_hash, manifest.graph, manifest.artefacts


def _check_present(movie: Movie, old: Manifest) -> None:
    for digest in sorted(named_blobs(old, ())):
        if not movie.blobs.has(digest):
            raise BlobMissingError(
                f"The blob {digest} of {old.revision} is not there; nothing was published.",
                hint="`renku-store fsck` names what is missing; restore it from a copy, or choose another revision.",
            )


def _publish(movie: Movie, old: Manifest, current: Manifest, base_hash: str) -> PublishedRevision:
    run = movie.events.new_id()
    now = timestamp(movie.clock.now())
    through = edits_reflected(movie.events.pending(), current, ())
    with movie.metadata.write() as writer:
        writer.runs.create(run, base_revision=current.revision, edits_through=through, created_at=now)
        writer.runs.update(run, status="abandoned", ended_at=now)
        # With its first step: a collection forgets an ended run that has left nothing.
        data: dict[str, Json] = {"base": current.revision, "to": old.revision}
        writer.events.append([RunEvent(id=movie.events.new_id(), run=run, kind="rollback", data=data, created_at=now)])
    movie.events.append_many(_restoring(movie, run, old, current, now))
    manifest = next_manifest(
        current,
        base_hash,
        movie=movie.id,
        revision=revision_name(revision_number(current.revision) + 1),
        run=run,
        created_at=timestamp(movie.clock.now()),
        graph=old.graph,
        timeline=old.timeline,
        inputs=old.inputs,
        artefacts=old.artefacts,
    )
    return movie.manifests.save_manifest(manifest, previous_hash=base_hash)


def _restoring(movie: Movie, run: str, old: Manifest, current: Manifest, now: str) -> Iterator[Event]:
    """What happened, as events: neither results of calls nor costs, so that no look-up by signature changes."""
    new_id = movie.events.new_id
    for key, given in _changed_inputs(current.inputs, old.inputs):
        yield InputEvent(
            id=new_id(),
            run=run,
            input=key,
            hash=given.hash,
            value=given.value,
            blob=given.blob,
            edited_by=_BY,
            created_at=now,
        )
    for key, held in old.artefacts.items():
        if current.artefacts.get(key) != held:
            yield _chosen(key, held, event_id=new_id(), run=run, now=now)


def _changed_inputs(
    current: Mapping[str, ManifestInput], old: Mapping[str, ManifestInput]
) -> Iterator[tuple[str, ManifestInput]]:
    return ((key, given) for key, given in old.items() if key not in current or current[key].hash != given.hash)


def _chosen(artefact: str, held: ManifestArtefact, *, event_id: str, run: str, now: str) -> ArtefactEvent:
    return ArtefactEvent(
        id=event_id,
        run=run,
        artefact=artefact,
        status="chosen",
        job=held.job,
        producer=held.produced_by,
        signature=held.signature,
        value=held.value_alone(),
        edited_by=held.edited_by,
        created_at=now,
    )
