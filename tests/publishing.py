"""Movies whose revisions hold exactly the files that a test gives."""

from __future__ import annotations

from collections.abc import Mapping

from renku_store import ArtefactEvent, ArtefactValue, Movie, hash_bytes
from renku_store.hashing import manifest_content_hash


def publish_files(movie: Movie, artefacts: Mapping[str, tuple[str, bytes]], timeline: str | None = None) -> str:
    """A revision with exactly these artefacts (those of the revision before included); its name."""
    for name, (mime_type, data) in artefacts.items():
        inline = len(data) <= 2_048 and mime_type.startswith(("text/", "application/json"))
        blob = None if inline else movie.blobs.put(data)
        value = ArtefactValue(
            hash=hash_bytes(data),
            size=len(data),
            mime_type=mime_type,
            inline=None if blob else data.decode(),
            blob=blob.hash if blob else None,
        )
        movie.events.append_artefact(
            ArtefactEvent(
                id=movie.events.new_id(),
                artefact=name,
                status="edited",
                value=value,
                edited_by="test",
                created_at="2026-01-01T00:00:00.000Z",
            )
        )
    current = movie.manifests.current()
    number = int(current[0].revision[4:]) + 1 if current else 1
    manifest = movie.manifests.build_from_events(f"rev-{number:04d}")
    manifest = manifest.replace(
        timeline=timeline,
        artefacts={name: manifest.artefacts[name] for name in manifest.artefacts if name in artefacts},
    )
    manifest = manifest.replace(content_hash=manifest_content_hash(manifest))
    return movie.manifests.save_manifest(manifest, previous_hash=current[1] if current else None).revision
