"""Giving names to revisions, and taking them away. A tag on a revision in the trash brings it back."""

from __future__ import annotations

import difflib

from renku_store import bounds
from renku_store.clock import timestamp
from renku_store.errors import BadInputError, DamageError, NotFoundError
from renku_store.movie import Movie
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Tag
from renku_store.retention.reports import TaggedRevision
from renku_store.retention.restoring import bring_back, check_not_swept
from renku_store.tags import RETENTION_LOCK, check_tag_name
from renku_store.trash import mark_of


def tag_revision(movie: Movie, revision: str, name: str, *, move: bool = False) -> TaggedRevision:
    """Give a name to a revision, which then never expires; one that is in the trash comes back first.

    `move` takes the name from another revision. Raises `InvalidIdError` for a name that is not allowed, `BadInputError`
    for one that another revision has, `NotFoundError` for a revision that is not there or has expired for good.
    """
    check_tag_name(name)
    with movie.driver.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
        manifest, digest = movie.manifests.load_with_hash(revision)
        present = _present(movie, name, move=move)
        if present is not None and present.revision != manifest.revision and not move:
            raise BadInputError(
                f"The tag {name} is {present.revision}'s.", hint="--move gives it to the other revision."
            )
        number = revision_number(manifest.revision)
        trashed = mark_of(movie.driver, number) is not None
        if trashed:
            bring_back(movie, number)
        if present is None or (present.revision, present.hash) != (manifest.revision, digest):
            now = timestamp(movie.clock.now())
            movie.tags.put(Tag(name=name, revision=manifest.revision, hash=digest, created_at=now))
            _keep(movie, name, number, present)
    return TaggedRevision(tag=name, revision=manifest.revision, hash=digest, restored=trashed)


def _keep(movie: Movie, name: str, number: int, before: Tag | None) -> None:
    """Let the name be as `before` if the revision has gone meanwhile: another machine had not seen it."""
    try:
        check_not_swept(movie, number)
    except NotFoundError:
        if before is None:
            movie.tags.remove(name)
        else:
            movie.tags.put(before)
        raise


def untag(movie: Movie, name: str) -> None:
    """Take a name away, one that cannot be read, too. `NotFoundError` with the nearest where there is none."""
    with movie.driver.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
        names = movie.tags.names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else "`renku-store tag` lists the tags."
            raise NotFoundError(f"There is no tag {name[:128]!a}.", hint=hint)
        movie.tags.remove(name)


def _present(movie: Movie, name: str, *, move: bool) -> Tag | None:
    try:
        return movie.tags.get(name)
    except DamageError:
        if move:
            return None
        raise
