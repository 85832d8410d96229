"""What stands beside the revisions: tags, and the marks of those in the trash.

A tag goes over unless the target gave the name anew since. A mark goes over unless the target has a tag on that
revision, which then never expires; what was taken back in the source stays in the target until it is taken back there.
"""

from __future__ import annotations

from renku_store import bounds
from renku_store.copying.reports import MovieCopy
from renku_store.copying.transfer import Transfer
from renku_store.drivers.base import Driver
from renku_store.errors import BlobCorruptError, NotFoundError
from renku_store.movie import Movie
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Tag
from renku_store.retention import tag_revision
from renku_store.tags import RETENTION_LOCK, TagStore
from renku_store.trash import mark_of, marks, put_marks


def copy_tags(
    source: Driver, target: Driver, into: Movie | None, newest: int, copied: MovieCopy, transfer: Transfer
) -> None:
    """Copy the tags on the revisions up to `newest`; `into` None: they are only counted."""
    tags = TagStore(source)
    for name in tags.names():
        try:
            tag = tags.get(name)
            present = TagStore(target).get(name)
        except BlobCorruptError as error:
            transfer.note_lost(f"tags/{name}.json", error.message)
            copied.problem = copied.problem or error
            continue
        if tag is None or revision_number(tag.revision) > newest or not _is_newer(tag, present):
            continue
        if into is not None and not _put_tag(into, target, tag):
            copied.notes.append(f"The tag {name} was not copied: {tag.revision} has expired in the target.")
            continue
        copied.tags += 1


def _is_newer(tag: Tag, present: Tag | None) -> bool:
    return present is None or (present != tag and present.created_at < tag.created_at)


def _put_tag(into: Movie, target: Driver, tag: Tag) -> bool:
    """Give a tag to the target, as it is; one on a revision that is in the trash there brings that back."""
    number = revision_number(tag.revision)
    if mark_of(target, number) is not None:
        try:
            tag_revision(into, tag.revision, tag.name, move=True)
        except NotFoundError:
            return False
    with target.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
        into.tags.put(tag)
    return True


def copy_marks(source: Driver, target: Driver, into: Movie | None, newest: int, copied: MovieCopy) -> None:
    """Copy the marks of revisions before `newest` that have none in the target, and no tag there."""
    found = [mark.expiry for mark in marks(source) if mark.number < newest]
    if not found:
        return
    if into is None:
        copied.marks = sum(mark_of(target, revision_number(one.revision)) is None for one in found)
        return
    with target.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
        tagged = TagStore(target).by_revision()
        present = {mark.number for mark in marks(target)}
        new = [one for one in found if one.revision not in tagged and revision_number(one.revision) not in present]
        put_marks(target, new)
    copied.marks = len(new)
