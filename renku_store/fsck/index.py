"""The index and the live state: what invariants 3, 4, 9, 10 and 11 say of rows, and of the files of runs.

Each of these looks is one transaction, and every change of state is one too: there is no half of it to be seen. What a
process does in several steps (deleting, publishing) is looked at more than once.
"""

from __future__ import annotations

from contextlib import suppress

from renku_store import bounds
from renku_store.archives import archive_path
from renku_store.blobs.removal import COLLECT_LOCK
from renku_store.drivers.local import on_this_machine
from renku_store.encoding import named_blobs
from renku_store.errors import DamageError, InvalidIdError, NotFoundError, StoreUnavailableError
from renku_store.fsck.examination import DATABASE, Examination
from renku_store.fsck.reports import REBUILD, UPGRADE
from renku_store.metadata.base import Intent, Reader
from renku_store.metadata.sqlite.replacing import is_newer
from renku_store.plans import plan_path
from renku_store.processes import process_alive
from renku_store.records.ids import revision_name

_FAULTS_SHOWN = 5


def check_database(exam: Examination, *, thorough: bool) -> None:
    """Whether there is an index that can be asked; what is wrong with its file and its schema."""
    exam.looked()
    problem = exam.movie.problem
    if isinstance(problem, NotFoundError):
        exam.indexed = False
        exam.findings.note(f"{problem.message} {problem.hint} Until then, only objects can be checked.")
        return
    if problem is not None:
        folder = exam.driver.workspace()
        newer = folder is not None and is_newer(folder / DATABASE)
        exam.unreadable(problem, UPGRADE if newer else REBUILD)
        return
    exam.ask(lambda reader: _check_file(exam, reader, thorough=thorough), None)
    exam.say("database", 1)


def _check_file(exam: Examination, reader: Reader, *, thorough: bool) -> None:
    found = reader.checks.faults(_FAULTS_SHOWN, thorough=thorough)
    if found:
        raise DamageError("; ".join(found))
    if reader.revisions.newest() is None and reader.events.last_seq() == (0, 0) and exam.manifests().newest():
        exam.indexed = False
        exam.findings.note(f"{DATABASE} is empty; opening the movie fills it from what was published.")
        return
    differing = reader.checks.schema_differences()
    if tables := [name for name in differing if name.startswith("table ")]:
        raise DamageError(f"The {tables[0]} is missing or changed.")
    for name in differing:
        invariant = 4 if name.startswith("trigger ") else 11
        exam.findings.problem(invariant, name, f"The {name} of {DATABASE} is missing or changed.", REBUILD)
    if reader.checks.compaction_active():
        exam.findings.problem(4, "compaction", "Event rows can be removed: compaction was left active.", REBUILD)


def check_rows(exam: Examination) -> None:
    """Look-ups, traces, claims, leases and runs, held against each other."""
    exam.ask(lambda reader: _check_rows(exam, reader), None)
    exam.say("database", 2)


def _check_rows(exam: Examination, reader: Reader) -> None:
    limit, checks = bounds.FSCK_PROBLEMS_MAX, reader.checks
    for name in checks.lost_rows(limit):
        exam.findings.problem(4, name, f"The event that {name} points at is not there.", REBUILD)
    for claim in checks.stale_claims(limit):
        message = f"The claim of {claim.job} in the run {claim.run} belongs to no lease."
        exam.findings.problem(10, claim.signature, message)
    for run in checks.impossible_leases(limit):
        message = f"The lease of the run {run} has a token that was never given out, or belongs to no run."
        exam.findings.problem(10, run, message)
    for _, result in checks.underived_traces(0, limit):
        exam.findings.problem(10, result, f"No event tells of the result {result}.", REBUILD)
    for run, why in checks.impossible_runs(limit):
        exam.findings.problem(11, run, f"The run {run} is in an impossible state: {why}.", REBUILD)
    exam.looked(len(reader.runs.list()))


def check_leftovers(exam: Examination) -> None:
    """What a process that died began: what others finish by the way is a note, what keeps them from it a problem."""
    if deleting := exam.settled(lambda: _deleting(exam)):
        exam.findings.note(
            f"Blobs that are half deleted, while nobody collects: {len(deleting):,}. The next `renku-store gc` ends"
            " that, and keeps what is needed."
        )
    for run in exam.settled(lambda: _stale_intents(exam)):
        exam.findings.note(
            f"The run {run} meant to publish a revision that was published with other bytes:"
            " the next command that opens the movie drops that."
        )
    _check_plans(exam)
    _count_temporary(exam)
    _count_foreign(exam)


def _count_foreign(exam: Examination) -> None:
    """Files in `events/` that nobody reads: harmless, and nobody's to remove."""
    known = {archive_path(run) for run in exam.movie.archives.runs()}
    found = sorted(name for name in exam.driver.children("events/") if f"events/{name}" not in known)
    if found:
        exam.findings.note(f"Files in events/ that are no archives: {len(found):,}, such as events/{found[0]}.")


def _deleting(exam: Examination) -> list[str]:
    """Blobs that are being deleted, as long as nobody holds the lock of collectors."""
    found = _said_deleting(exam)
    if not found or exam.driver.read_only:
        return found
    try:
        with exam.driver.lock(COLLECT_LOCK, wait_seconds=0):
            return _said_deleting(exam)
    except StoreUnavailableError:
        return []


def _said_deleting(exam: Examination) -> list[str]:
    nothing: list[str] = []
    return exam.ask(lambda reader: reader.checks.deleting(bounds.FSCK_PROBLEMS_MAX), nothing)


def _stale_intents(exam: Examination) -> list[str]:
    return [intent.run for intent in _intents(exam) if not _is_held(exam, intent.run) and _lost(exam, intent)]


def _intents(exam: Examination) -> list[Intent]:
    nothing: list[Intent] = []
    return exam.ask(lambda reader: reader.revisions.intents(), nothing)


def _is_held(exam: Examination, run: str) -> bool:
    holder = exam.ask(lambda reader: reader.runs.holder(run), None)
    return holder is not None and process_alive(holder)


def _lost(exam: Examination, intent: Intent) -> bool:
    published = exam.manifests().raw(intent.number)
    return published is not None and published != intent.manifest


def _check_plans(exam: Examination) -> None:
    """The plans of all runs: one that cannot be read keeps collections from going on."""
    names = [name for name in exam.driver.children("runs/") if name.endswith("-plan.json")]
    for name in names:
        exam.looked()
        run = name.removesuffix("-plan.json")
        # What has another name than a plan's is none, and one may go while it is looked at.
        with suppress(NotFoundError, InvalidIdError):
            try:
                exam.movie.plans.load(run)
            except DamageError as error:
                exam.findings.problem(11, plan_path(run), error.message)


def _count_temporary(exam: Examination) -> None:
    now = exam.ask(lambda reader: reader.now_ms() / 1000, exam.movie.clock.now().timestamp())
    here = on_this_machine(exam.driver)
    old = [found for found in here.list("tmp/") if found.modified < now - bounds.GC_GRACE_SECONDS]
    if old:
        exam.findings.note(f"Temporary files older than a day: {len(old):,}. `renku-store gc` removes them.")


def read_pending(exam: Examination) -> None:
    """Collect what events that no ended run covers, and intents, name (invariants 3 and 9)."""
    seq = 0
    while page := _uncovered(exam, seq):
        exam.pending.add(digest for _, digest in page)
        seq = page[-1][0]
    for intent in _intents(exam):
        with suppress(DamageError):
            manifest = exam.manifests().decode(revision_name(intent.number), intent.manifest)
            exam.pending.add(named_blobs(manifest, (page.hash for page in manifest.pages or ())))


def _uncovered(exam: Examination, seq: int) -> list[tuple[int, str]]:
    nothing: list[tuple[int, str]] = []
    return exam.ask(lambda reader: reader.blobs.uncovered(seq, bounds.EVENT_PAGE_ROWS), nothing)
