"""Invariants 5, 6 and 7: every revision is there as it was published, one chain, and the pointer names one of them.

    witness of a manifest's hash    the manifest after it (`baseHash`), the index, the pointer
    two agree, the third does not   the third is wrong

Manifests are immutable and appear in rising order, so what is read here once cannot be a false alarm later.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from renku_store.encoding import expiry_path, manifest_path, named_blobs, read_page
from renku_store.errors import BlobMissingError, DamageError, InvalidIdError, NotFoundError, StoreError
from renku_store.fsck.derived import Spans
from renku_store.fsck.examination import Examination, Published
from renku_store.fsck.naming import Named, named_in, packed
from renku_store.fsck.reports import REBUILD, REPAIR, REPAIR_FROM
from renku_store.hashing import hash_bytes
from renku_store.manifests import POINTER, ManifestStore
from renku_store.metadata.base import RevisionRow
from renku_store.records._base import RecordError
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Expiry, Manifest, ManifestStub, Pointer
from renku_store.remaking import remade


def check_revisions(exam: Examination) -> None:
    """Read the chain from its newest revision to the first, and what stands beside it."""
    manifests = ManifestStore(exam.driver, exam.blobs().read)
    # Both before the listing: what they name is there by then.
    pointer = manifests.pointer()
    booked = exam.ask(lambda reader: reader.revisions.newest(), None)
    exam.booked = booked.number if booked else 0
    present = set(manifests.numbers())
    pointed = revision_number(pointer.revision) if pointer else 0
    newest = max([exam.booked, *present])
    _Chain(exam, pointer).read(newest, present)
    _check_pointer(exam, pointer, pointed, newest)
    if exam.indexed and exam.booked < newest and _is_behind(exam, newest):
        exam.findings.note(
            f"The index is behind: {revision_name(newest)} is published, {exam.booked or 'none'} is indexed."
            " The next command that opens the movie catches up."
        )


def _is_behind(exam: Examination, newest: int) -> bool:
    """Whether the index has not caught up by now: whoever publishes books a moment later."""
    booked = exam.ask(lambda reader: reader.revisions.newest(), None)
    return booked is None or booked.number < newest


class _Chain:
    def __init__(self, exam: Examination, pointer: Pointer | None) -> None:
        self._exam = exam
        self._pointer = pointer
        self._complete = exam.manifests()
        # Pages are read apart from the manifests.
        self._quick = ManifestStore(exam.driver, lambda _: b"{}")
        # What the pages of the last revision name, which shares most of them with the next.
        self._pages: dict[str, frozenset[bytes]] = {}
        self._tags = tagged(exam)
        self._newest_is_there = False
        self._spans = Spans(exam)

    def read(self, newest: int, present: set[int]) -> None:
        """Read every revision from `newest` to the first; `present` are those that have a manifest."""
        said: str | None = None
        self._newest_is_there = newest in present or self._comes_back(newest)
        for number in range(newest, 0, -1):
            self._exam.looked()
            before = len(self._exam.chain)
            if number in present:
                said = self._entry(number, said, newest)
            else:
                name = revision_name(number)
                self._lost(number, f"The manifest of {name} is missing.", newest)
                said = None
            if len(self._exam.chain) == before:
                self._spans.skip()
            self._exam.say("revisions", newest - number + 1)
        self._spans.report()

    def _entry(self, number: int, said: str | None, newest: int) -> str | None:
        """Check one revision of which the next one says its hash; gives what it says of the one before it."""
        exam, name = self._exam, revision_name(number)
        row = self._row(number)
        expected = said or (row.hash if row else None) or self._pointed(name)
        try:
            store = self._complete if expected is None else self._quick
            entry, digest = store.entry(number, expected)
        except NotFoundError:
            return None
        except StoreError as error:
            if row is None or row.hash == expected or not self._is(number, row.hash):
                self._lost(number, error.message, newest)
                return None
            following = revision_name(number + 1)
            message = f"{following} names {said} as its base, but {name} is {row.hash}."
            exam.findings.problem(6, manifest_path(following), message, REPAIR_FROM, revisions=[following])
            entry, digest = self._quick.entry(number, row.hash)
        self._take(number, entry, digest, row)
        return entry.base_hash

    def _lost(self, number: int, message: str, newest: int) -> None:
        """A manifest that cannot be had: an old one can be let go, as long as the index knows it.

        Nothing can be let go while the newest is missing: it is nobody's to say then what the newest is.
        """
        name = revision_name(number)
        if self._comes_back(number):
            message = f"{message} The index gives its exact bytes."
            self._exam.findings.problem(5, manifest_path(name), message, REPAIR, revisions=[name])
            return
        older = number < newest and self._newest_is_there
        dispensable = older and self._row(number) is not None and name not in self._tags
        repair = expire_command([number]) if dispensable else REPAIR_FROM
        if dispensable and newest not in self._exam.chain:
            repair = f"{REPAIR}; {repair}"
        if dispensable:
            message = f"{message} A copy brings it back (`{REPAIR_FROM}`); to let it go cannot be undone."
        self._exam.findings.problem(5, manifest_path(name), message, repair, revisions=[name])

    def _take(self, number: int, entry: Manifest | ManifestStub, digest: str, row: RevisionRow | None) -> None:
        exam, name = self._exam, revision_name(number)
        if row is None and number <= exam.booked and exam.indexed:
            exam.findings.problem(6, name, f"The index does not know {name}.", REBUILD, revisions=[name])
        if row is not None and (row.hash, row.base_hash, row.run) != (digest, entry.base_hash, entry.run):
            message = f"The index says something else of {name} than its manifest does."
            exam.findings.problem(6, name, message, REBUILD, revisions=[name])
        if (entry.base_hash is None) != (number == 1):
            message = f"{name} names no base." if number > 1 else f"{name} is the first, and names a base."
            exam.findings.problem(6, manifest_path(name), message, REPAIR_FROM, revisions=[name])
        state = self._state(number, entry, digest)
        exam.chain[number] = Published(number, digest, entry.run, entry.archive, state)
        if isinstance(entry, Manifest):
            self._take_names(number, entry, exam.kept if state == "kept" else exam.trash, booked=row is not None)
        else:
            self._spans.skip()

    def _take_names(self, number: int, manifest: Manifest, named: Named, *, booked: bool) -> None:
        """Note what a manifest names, and see whether the index says the same."""
        pages = {page.hash: self._page(page.hash) for page in manifest.pages or ()}
        self._pages = pages
        parts = {"": packed(named_blobs(manifest, pages)), **pages}
        for part, digests in parts.items():
            if not part or not named.has_part(part):
                named.add_part(part, digests)
        if booked and not self._exam.suspect_pages.intersection(pages):
            self._spans.look(number, parts)
        else:
            self._spans.skip()

    def _page(self, digest: str) -> frozenset[bytes]:
        """What a page names; nothing where it cannot be read, which is noted. Neighbours share what was read."""
        if digest not in self._pages:
            try:
                page = read_page(self._exam.blobs().read(digest))
                return packed(named_in(page.values()))
            except (StoreError, RecordError):
                self._exam.suspect_pages.add(digest)
        return self._pages.get(digest, frozenset())

    def _comes_back(self, number: int) -> bool:
        """Whether the index has the exact bytes of a manifest, or what it takes to make them anew."""
        kept = self._exam.ask(lambda reader: reader.checks.newest_manifest(), None)
        row = self._row(number)
        if kept is not None and row is not None and (number, row.hash) == (kept.number, hash_bytes(kept.data)):
            return True
        return self._exam.indexed and remade(self._exam.movie, number, self._exam.row) is not None

    def _state(self, number: int, entry: Manifest | ManifestStub, digest: str) -> str:
        """Whether a revision is kept, in the trash, or a stub; and whether its mark is right."""
        exam, name = self._exam, revision_name(number)
        path = expiry_path(name)
        mark, there = read_mark(exam, number)
        right = mark is not None and mark.hash == digest
        if isinstance(entry, ManifestStub):
            if not right:
                exam.findings.problem(
                    5, path, f"{name} has expired, but no mark says when and why.", REPAIR, revisions=[name]
                )
            return "stub"
        if there and not right:
            message = f"The mark that {name} has expired cannot be read: it counts as kept."
            exam.findings.problem(5, path, message, REPAIR, revisions=[name])
        return "trash" if right else "kept"

    def _row(self, number: int) -> RevisionRow | None:
        return self._exam.ask(lambda reader: reader.revisions.get(number), None)

    def _pointed(self, name: str) -> str | None:
        return self._pointer.hash if self._pointer is not None and self._pointer.revision == name else None

    def _is(self, number: int, digest: str) -> bool:
        with suppress(StoreError):
            return bool(self._quick.entry(number, digest))
        return False


def tagged(exam: Examination) -> set[str]:
    """The revisions that some tag names, as far as tags can be read."""
    found: set[str] = set()
    for name in exam.movie.tags.names():
        with suppress(StoreError):
            tag = exam.movie.tags.get(name)
            found.update([tag.revision] if tag is not None else [])
    return found


def expire_command(numbers: Iterable[int]) -> str:
    """The command that lets revisions go."""
    return "renku-store prune " + " ".join(f"--expire {revision_name(number)}" for number in sorted(numbers))


def read_mark(exam: Examination, number: int) -> tuple[Expiry | None, bool]:
    """The mark that a revision has expired, as far as it can be read, and whether there is one at all."""
    mark = exam.manifests().expiry(number)
    if mark is None and exam.driver.stat(expiry_path(revision_name(number))) is not None:
        return exam.manifests().expiry(number), True  # it may have been made in between
    return mark, mark is not None


def _check_pointer(exam: Examination, pointer: Pointer | None, pointed: int, newest: int) -> None:
    exam.looked()
    if pointer is None:
        there = exam.driver.stat(POINTER) is not None
        if exam.manifests().pointer_is_folder():
            exam.findings.problem(7, POINTER, f"{POINTER} is a folder, not a file.")
        elif there or newest > 1:
            exam.findings.problem(7, POINTER, f"{POINTER} {'cannot be read' if there else 'is missing'}.")
        elif newest:
            exam.findings.note(f"{POINTER} is missing: the next command that opens the movie writes it.")
        return
    known = exam.chain.get(pointed)
    if known is not None and known.hash != pointer.hash:
        exam.findings.problem(
            7, POINTER, f"{POINTER} says {pointer.hash} of {pointer.revision}, which is {known.hash}."
        )
    elif pointed > newest:
        exam.findings.problem(7, POINTER, f"{POINTER} names {pointer.revision}, which does not exist.")
    elif pointed < newest and exam.manifests().pointer() == pointer:
        exam.findings.note(
            f"{POINTER} names {pointer.revision}, the newest is {revision_name(newest)}:"
            " the next command that opens the movie moves it on."
        )


def check_tags(exam: Examination) -> None:
    """Every tag can be read and names a revision that is there, by its right hash."""
    for name in exam.movie.tags.names():
        exam.looked()
        path, remove = f"tags/{name}.json", f"renku-store tag --delete {name}"
        try:
            tag = exam.movie.tags.get(name)
        except DamageError as error:
            exam.findings.problem(5, path, error.message, remove)
            continue
        if tag is None:
            continue
        with suppress(InvalidIdError):
            known = exam.chain.get(revision_number(tag.revision))
            if known is None and not exam.manifests().exists(revision_number(tag.revision)):
                exam.findings.problem(5, path, f"The tag {name} names {tag.revision}, which is not there.", remove)
            elif known is not None and known.hash != tag.hash:
                message = f"The tag {name} says {tag.hash} of {tag.revision}, which is {known.hash}."
                again = remove if known.state == "stub" else f"renku-store tag {tag.revision} {name}"
                exam.findings.problem(5, path, message, again, revisions=[tag.revision])
            elif known is not None and known.state == "stub":
                message = f"The tag {name} names {tag.revision}, which has expired."
                exam.findings.problem(5, path, message, remove, revisions=[tag.revision])


def archive_fault(exam: Examination, published: Published) -> str | None:
    """What is wrong with the archive that a revision names, as a sentence; None where it has the right bytes."""
    archive = published.archive
    if archive is None:
        return None
    try:
        digest = hash_bytes(exam.driver.read(archive.name))
    except BlobMissingError:
        # That of an expired revision goes when nothing needs it any more; it may have expired since it was read.
        expired = exam.manifests().glance(published.number).get("expired") is True
        return None if expired else f"The archive {archive.name} is missing."
    return None if digest == archive.hash else f"The archive {archive.name} is damaged."
