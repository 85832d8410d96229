"""What looked wrong is looked at again, with all that is known of it, before it is called a problem.

    look at row, objects and bytes -> find who needs the blob now -> look again while no row can change, and see that
    it is needed still

A blob that is being deleted, put, revived or made anew meanwhile passes one of these looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from renku_store.blobs.verifying import UNREADABLE, faults, stored
from renku_store.errors import StoreError
from renku_store.fsck.blobs import Suspects, is_suspect
from renku_store.fsck.examination import Examination
from renku_store.fsck.reports import REPAIR, REPAIR_FROM, RUN
from renku_store.fsck.revisions import expire_command, read_mark, tagged
from renku_store.fsck.uses import Uses, names, trace_uses
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import Reader
from renku_store.records.blob import BlobRow, Encoding, blob_path
from renku_store.records.manifest import Manifest


@dataclass(frozen=True, slots=True)
class State:
    """A blob at one moment: its row, its objects with their sizes, and what is wrong with their bytes."""

    row: BlobRow | None
    stored: Mapping[Encoding, int]
    faults: Mapping[Encoding, str]

    @property
    def is_live(self) -> bool:
        """Whether its row says that it can be had."""
        return self.row is not None and self.row.state == "live"


def report_suspects(exam: Examination, suspects: Suspects) -> None:
    """Confirm each suspicion, and note those that are problems."""
    exam.findings.unlisted += suspects.unlisted
    wrong = {digest: faults(exam.driver, digest) if known else {} for digest, known in suspects.found.items()}
    left = [digest for digest in suspects.found if wrong[digest] or not _is_right(exam, digest)]
    uses = trace_uses(exam, left)
    for count, digest in enumerate(sorted(left), 1):
        # Bytes are read without the lock: those that are wrong twice, with no writer in between, stay wrong.
        bad = faults(exam.driver, digest) if wrong[digest] else {}
        with exam.still() as reader:
            state = State(_row(exam, reader, digest), stored(exam.driver, digest), bad)
            needed = _is_needed(exam, reader, digest, uses[digest])
        _report(exam, digest, state, uses[digest], needed=needed)
        exam.say("suspects", count)


def _is_right(exam: Examination, digest: str) -> bool:
    """Whether a blob looks as it should by now, were it needed."""
    row = exam.ask(lambda reader: _row(exam, reader, digest), None)
    return not is_suspect(row, stored(exam.driver, digest), needed=True, promises=exam.promises)


def _row(exam: Examination, reader: Reader | None, digest: str) -> BlobRow | None:
    return reader.blobs.get([digest]).get(digest) if reader is not None and exam.promises else None


def _is_needed(exam: Examination, reader: Reader | None, digest: str, uses: Uses) -> bool:
    """Whether one of those that needed it still does: has not expired, or been covered by a run that ended."""
    if any(_is_kept(exam, number) for number in uses.kept):
        return True
    if reader is None:
        return False
    return any((seq, digest) in reader.blobs.uncovered(seq - 1, 1) for seq in uses.events)


def _is_kept(exam: Examination, number: int) -> bool:
    manifests = ManifestStore(exam.driver, lambda _: b"{}")
    known = exam.chain.get(number)
    try:
        entry, digest = manifests.entry(number, known.hash if known is not None else manifests.expected(number))
    except StoreError:
        return False
    mark = read_mark(exam, number)[0]
    return isinstance(entry, Manifest) and (mark is None or mark.hash != digest)


def _report(exam: Examination, digest: str, state: State, uses: Uses, *, needed: bool) -> None:
    invariant, what = _judge(exam, digest, state, uses, needed=needed)
    if not invariant:
        if what:
            exam.findings.note(what)
        return
    exam.findings.problem(
        invariant,
        _path(digest, state),
        f"The blob {digest} {what}{_described(uses)}.",
        _repair(exam, state, uses, needed=needed),
        artefacts=uses.artefacts,
        revisions=names(uses.kept),
    )


def _judge(exam: Examination, digest: str, state: State, uses: Uses, *, needed: bool) -> tuple[int, str]:
    """Which invariant is broken (0: none) and how; for none, what is worth a note."""
    if state.faults:
        return 1, "is damaged: " + "; ".join(state.faults.values())
    if not state.stored and needed:
        return (5 if uses.kept else 3), "is missing"
    if state.is_live and not state.stored:
        return 8, "is missing, though its row says that it is there"
    if state.row is not None and state.is_live and state.stored.get(state.row.encoding) != state.row.stored_size:
        return 8, "is not stored as its row says"
    if needed and exam.promises and not state.is_live:
        return 9, f"is needed, but its row is {state.row.state if state.row else 'missing'}"
    if not state.stored and uses.trash:
        return 0, f"The blob {digest} is missing; only {', '.join(names(uses.trash))} in the trash named it."
    return 0, ""


def _path(digest: str, state: State) -> str:
    """The object that is wrong, or that there should be."""
    present: list[Encoding] = [*state.faults, *state.stored]
    for encoding in present:
        return blob_path(digest, encoding)
    return blob_path(digest, state.row.encoding if state.row is not None else "raw")


def _described(uses: Uses) -> str:
    """What it is besides an artefact."""
    what = [f"the {part}" for part in sorted(uses.parts)] + [f"the input {name}" for name in list(uses.inputs)[:3]]
    if not what:
        return ""
    return f" ({' and '.join(what)} of {', '.join(names(uses.kept)[-3:]) or 'what is pending'})"


def _repair(exam: Examination, state: State, uses: Uses, *, needed: bool) -> str:
    """The command that mends it: a run makes anew what it can; what only old revisions hold goes with them."""
    if any(why.startswith(UNREADABLE) for why in state.faults.values()):
        return REPAIR_FROM
    lost = not any(encoding not in state.faults for encoding in state.stored)
    if not (lost and needed):
        return REPAIR
    first = f"{REPAIR}; " if state.stored or state.is_live else ""
    newest = max(exam.chain, default=0)
    if uses.current and not uses.inputs and not uses.parts:
        return first + RUN
    if uses.kept and newest not in uses.kept and not uses.events and not tagged(exam).intersection(names(uses.kept)):
        return first + expire_command(uses.kept)
    if not uses.kept and not uses.pending_edit:
        return first + RUN
    if uses.parts == {"graph"} and not uses.inputs and not uses.artefacts:
        return REPAIR
    return REPAIR_FROM
