"""What suffers from a damaged blob: the artefacts and inputs that are it, and the revisions that hold them.

One pass over the manifests and the events that are there now; it is made only where there is damage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from renku_store import bounds
from renku_store.encoding import read_page
from renku_store.errors import StoreError
from renku_store.fsck.examination import Examination
from renku_store.fsck.revisions import read_mark
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import BlobUse
from renku_store.records._base import RecordError
from renku_store.records.ids import revision_name
from renku_store.records.manifest import Manifest, ManifestArtefact


@dataclass(slots=True)
class Uses:
    """Who uses one blob. Revisions come newest first; of names at most a hundred are kept."""

    artefacts: dict[str, None] = field(default_factory=dict)
    inputs: dict[str, None] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    trash: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)
    """`graph` or `page`, where that is what it is."""
    current: set[str] = field(default_factory=set)
    """Of the newest revision, the artefacts that a job can make anew."""
    pending_edit: bool = False

    @property
    def needed(self) -> bool:
        """Whether anything that was promised needs it."""
        return bool(self.kept or self.events)


def trace_uses(exam: Examination, digests: Collection[str]) -> dict[str, Uses]:
    """Who uses each of these blobs now."""
    found = {digest: Uses() for digest in digests}
    if found:
        _Manifests(exam, found).read()
        _read_events(exam, found)
    return found


class _Manifests:
    def __init__(self, exam: Examination, found: Mapping[str, Uses]) -> None:
        self._exam = exam
        self._found = found
        self._pages: dict[str, dict[str, ManifestArtefact]] = {}
        self._empty: set[bytes] = set()
        self._manifests = ManifestStore(exam.driver, lambda _: b"{}")

    def read(self) -> None:
        newest = self._manifests.newest()
        for number in range(newest, 0, -1):
            with suppress(StoreError):
                known = self._exam.chain.get(number)
                expected = known.hash if known is not None else self._manifests.expected(number)
                if expected is None:
                    continue
                entry = self._manifests.entry(number, expected)[0]
                if isinstance(entry, Manifest):
                    trashed = read_mark(self._exam, number)[0] is not None
                    self._take(number, entry, newest=number == newest, trashed=trashed)

    def _take(self, number: int, manifest: Manifest, *, newest: bool, trashed: bool) -> None:
        touched: set[str] = set()
        for digest, part in [(manifest.graph, "graph"), *((page.hash, "page") for page in manifest.pages or ())]:
            if digest is not None and digest in self._found:
                self._found[digest].parts.add(part)
                touched.add(digest)
        for key, given in manifest.inputs.items():
            if given.blob is not None and given.blob in self._found:
                _keep(self._found[given.blob].inputs, key)
                touched.add(given.blob)
        for key, artefact in self._artefacts(manifest):
            if artefact.blob is not None and artefact.blob in self._found:
                uses = self._found[artefact.blob]
                _keep(uses.artefacts, key)
                if newest and manifest.graph and artefact.job is not None and artefact.edited_by is None:
                    uses.current.add(key)
                touched.add(artefact.blob)
            under = artefact.made.blob if artefact.made is not None else None
            if under is not None and under in self._found:
                uses = self._found[under]
                _keep(uses.artefacts, key)
                if newest and manifest.graph and artefact.job is not None:
                    uses.current.add(key)
                touched.add(under)
        for digest in touched:
            (self._found[digest].trash if trashed else self._found[digest].kept).append(number)

    def _artefacts(self, manifest: Manifest) -> Iterator[tuple[str, ManifestArtefact]]:
        yield from manifest.artefacts.items()
        for page in manifest.pages or ():
            yield from self._hits(page.hash).items()

    def _hits(self, digest: str) -> dict[str, ManifestArtefact]:
        """The artefacts of a page that are asked for; each page is read once."""
        if digest not in self._pages and bytes.fromhex(digest) not in self._empty:
            held: dict[str, ManifestArtefact] = {}
            with suppress(StoreError, RecordError):
                held = read_page(self._exam.blobs().read(digest))
            hits = {
                key: artefact
                for key, artefact in held.items()
                if artefact.blob in self._found or (artefact.made is not None and artefact.made.blob in self._found)
            }
            if hits:
                self._pages[digest] = hits
            else:
                self._empty.add(bytes.fromhex(digest))
        return self._pages.get(digest, {})


def _read_events(exam: Examination, found: Mapping[str, Uses]) -> None:
    """Which events that no ended run covers name them, and what those are about."""
    seq = 0
    while page := _page(exam, seq):
        for at, digest in page:
            if digest in found and len(found[digest].events) < bounds.FSCK_NAMES_MAX:
                found[digest].events.append(at)
        seq = page[-1][0]
    if any(uses.events for uses in found.values()):
        _name_events(exam, {at: uses for uses in found.values() for at in uses.events})


def _page(exam: Examination, seq: int) -> list[tuple[int, str]]:
    nothing: list[tuple[int, str]] = []
    return exam.ask(lambda reader: reader.blobs.uncovered(seq, bounds.EVENT_PAGE_ROWS), nothing)


def _name_events(exam: Examination, wanted: Mapping[int, Uses]) -> None:
    for seq, uses in sorted(wanted.items()):
        for use in _use(exam, seq):
            _keep(uses.artefacts if use.kind == "artefact" else uses.inputs, use.id)
            uses.pending_edit = uses.pending_edit or use.run is None


def _use(exam: Examination, seq: int) -> Iterable[BlobUse]:
    nothing: list[BlobUse] = []
    found = exam.ask(lambda reader: reader.blobs.uses(seq - 1, 1), nothing)
    return [use for use in found if use.seq == seq]


def _keep(names: dict[str, None], name: str) -> None:
    if len(names) < bounds.FSCK_NAMES_MAX:
        names[name] = None


def names(numbers: Iterable[int]) -> list[str]:
    """Revisions by their names, oldest first."""
    return [revision_name(number) for number in sorted(numbers)]
