"""Invariants 1, 2, 3, 5, 8 and 9 over blobs: folder by folder, what is stored against rows and against what is named.

Only one folder of 256 is held at a time. The bytes are read last: those never verified as they come, then, where the
time is bounded, the others from the least recently verified on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from renku_store import bounds
from renku_store.fsck.examination import Examination
from renku_store.fsck.hashing import Hashing
from renku_store.fsck.reports import printable
from renku_store.records.blob import BlobRow, Encoding, blob_path

FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
_PAGE_ROWS: Final = 250
"""Rows at a time: what is read beyond the last of a folder is read again for the next."""
_OBJECT: Final = re.compile(r"([0-9a-f]{64})(\.zst)?")


@dataclass(slots=True)
class Suspects:
    """Blobs that do not look as they should, to be looked at once more; beyond a bound they are only counted."""

    found: dict[str, dict[Encoding, str]] = field(default_factory=dict)
    """By hash, with what is wrong with the bytes of each of its objects, if that is it."""
    unlisted: int = 0

    def add(self, digest: str, faults: Mapping[Encoding, str] | None = None) -> None:
        """Add a blob."""
        if digest in self.found or len(self.found) < bounds.FSCK_PROBLEMS_MAX:
            self.found.setdefault(digest, {}).update(faults or {})
        else:
            self.unlisted += 1


def check_blobs(exam: Examination, hashing: Hashing) -> Suspects:
    """Hold objects, rows and names against each other, and read the bytes."""
    suspects = Suspects()
    found = foreign(exam)
    for name in found.names:
        exam.findings.problem(2, name, f"{printable(name)} is not the name of a blob.")
    if found.behind_links:
        more = f" (and {found.behind_links - 1:,} more)" if found.behind_links > 1 else ""
        exam.findings.note(
            f"{found.example}{more} is not the name of a blob. It lies behind a link, where nothing is moved."
        )
    for folder in FOLDERS:
        _check_folder(exam, folder, hashing, suspects)
    hashing.verify_again(suspects.add)
    hashing.finish()
    return suspects


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is no object below `blobs/`, or lies in the wrong folder: `names` in order, a link to a folder as itself.

    What lies behind the link that a folder of blobs may be is somebody else's: it is only counted, with an `example`.
    """

    names: list[str]
    behind_links: int = 0
    example: str = ""


def foreign(exam: Examination) -> Foreign:
    """Look for foreign entries."""
    names: set[str] = set()
    below: set[str] = set()
    for child in exam.driver.children("blobs/"):
        if not child.endswith("/"):
            names.add(f"blobs/{child}")
            continue
        stored = exam.driver.list(f"blobs/{child}")
        below |= {found.name for found in stored if _object(found.name, child[:-1]) is None}
    # A listing begins behind a link, if it is given one, and follows none below.
    own = {found.name for found in exam.driver.list("blobs/") if found.name in below} if below else below
    beyond = sorted(below - own)
    links = {name for name in beyond if name.split("/")[1] not in FOLDERS}
    names |= own | {"/".join(name.split("/")[:2]) for name in links}
    left = [name for name in beyond if name not in links]
    return Foreign(sorted(names), len(left), printable(left[0]) if left else "")


def _object(name: str, folder: str) -> tuple[str, Encoding] | None:
    match = _OBJECT.fullmatch(name.rpartition("/")[2])
    if match is None or match[1][:2] != folder:
        return None
    encoding: Encoding = "zstd" if match[2] else "raw"
    return (match[1], encoding) if name == blob_path(match[1], encoding) else None


def objects_within(exam: Examination, folder: str) -> dict[str, dict[Encoding, int]]:
    """The objects of one folder: their sizes on the disk by hash and encoding."""
    objects: dict[str, dict[Encoding, int]] = {}
    for found in exam.driver.list(f"blobs/{folder}/"):
        named = _object(found.name, folder)
        if named is not None:
            objects.setdefault(named[0], {})[named[1]] = found.size
    return objects


def rows_within(exam: Examination, folder: str) -> dict[str, BlobRow]:
    """The rows of the blobs that belong into one folder."""
    rows: dict[str, BlobRow] = {}
    after = folder
    while page := _rows(exam, after):
        mine = {row.hash: row for row in page if row.hash[:2] == folder}
        rows.update(mine)
        if len(mine) < len(page):
            break
        after = page[-1].hash
    return rows


def _rows(exam: Examination, after: str) -> list[BlobRow]:
    nothing: list[BlobRow] = []
    return exam.ask(lambda reader: reader.blobs.page(after, _PAGE_ROWS), nothing)


def _check_folder(exam: Examination, folder: str, hashing: Hashing, suspects: Suspects) -> None:
    # Rows before objects: a writer makes the object first, so an object is missing behind a row only if it is lost.
    rows = rows_within(exam, folder) if exam.promises else {}
    objects = objects_within(exam, folder)
    named = {digest for names in (exam.kept, exam.trash, exam.pending) for digest in names.within(folder)}
    forced: set[str] = {digest for digest in exam.suspect_pages if digest[:2] == folder}
    for digest in rows.keys() | objects.keys() | named:
        exam.looked()
        row, stored = rows.get(digest), objects.get(digest, {})
        if is_suspect(row, stored, needed=digest in named, promises=exam.promises):
            suspects.add(digest)
            forced.add(digest)
    hashing.verify_new(objects, forced, suspects.add)
    exam.say("blobs", exam.findings.checked)


def is_suspect(row: BlobRow | None, stored: Mapping[Encoding, int], *, needed: bool, promises: bool) -> bool:
    """Whether row and objects of a blob disagree with each other, or with its being needed."""
    is_live = row is not None and row.state == "live"
    if needed and (not stored or (promises and not is_live)):
        return True
    return row is not None and is_live and stored.get(row.encoding) != row.stored_size
