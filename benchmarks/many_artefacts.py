"""A movie of many artefacts, each of them a small blob, made as runs make them: blobs, then events, then a revision."""

from __future__ import annotations

from random import Random

from renku_store import ArtefactEvent, ArtefactValue, Manifest, Movie, Store

BLOB_BYTES = 256
GROUP = 10_000
"""So many artefacts come with one revision."""
NOW = "2026-01-01T00:00:00.000Z"


class ManyArtefacts:
    """The movie; each `publish` is one more revision of it."""

    def __init__(self, store: Store, count: int) -> None:
        self.movie: Movie = store.create_movie(f"of-{count}")
        self.count = count
        self.random = Random(count)
        self._number = 0
        for first in range(0, count, GROUP):
            self.newest: Manifest = self.publish(range(first, min(first + GROUP, count)))

    def publish(self, places: range | list[int]) -> Manifest:
        """Everything that a revision takes in which artefacts at these places are new."""
        self._number += 1
        run = self.movie.events.new_id()
        blobs = self.movie.blobs.put_many([self.random.randbytes(BLOB_BYTES) for _ in places])
        values = (ArtefactValue(hash=one.hash, size=one.size, mime_type="image/png", blob=one.hash) for one in blobs)
        self.movie.events.append_many([self._event(*given, run) for given in zip(places, values, strict=True)])
        manifest = self.movie.manifests.build_from_events(f"rev-{self._number:04}", run=run)
        self.movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
        return manifest

    def _event(self, place: int, value: ArtefactValue, run: str) -> ArtefactEvent:
        return ArtefactEvent(
            id=self.movie.events.new_id(),
            run=run,
            artefact=f"picture[{place}].image",
            status="succeeded",
            output="image",
            job=f"picture[{place}]",
            producer="picture",
            signature=self.random.randbytes(32).hex(),
            result=self.movie.events.new_id(),
            value=value,
            cost=0.04,
            attempts=1,
            created_at=NOW,
        )
