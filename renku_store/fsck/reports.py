"""What a check tells: while it goes, and at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from renku_store import bounds
from renku_store.records._base import Record, written

CheckStep = Literal["database", "revisions", "archives", "blobs", "suspects", "repairs"]

REPAIR: Final = "renku-store fsck --repair"
REPAIR_FROM: Final = "renku-store fsck --repair --from PATH"
REBUILD: Final = "renku-store rebuild"
RUN: Final = "renku-store run"
UPGRADE: Final = "pip install --upgrade renku-store"


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """How far a step has come: `done` things of it, and the `bytes` that have been read from blobs so far."""

    step: CheckStep
    done: int
    bytes: int = 0


class Problem(Record):
    """Something that is not as an invariant (by its number) says.

    `object` is a path in the movie, or an id; `artefacts` and `revisions` are those that suffer, at most 100 of each.
    `repair` is the command that mends it.
    """

    invariant: int
    object: str
    artefacts: list[str] = written([])
    revisions: list[str] = written([])
    message: str
    repair: str


class CheckReport(Record):
    """What a check found: `ok` where there is no problem.

    `checked` counts objects and runs that were looked at, `checked_bytes` what was read of blobs, `skipped` the blobs
    whose bytes were not: as they were verified lately, are not in the sample, or the time was up. `complete` is False
    where a sample or the time left bytes out. `notes` are no problems. `repaired` lists what a repair has done.
    """

    ok: bool
    checked: int = written(0)
    checked_bytes: int = written(0)
    skipped: int = written(0)
    complete: bool = written(default=True)
    problems: list[Problem] = written([])
    notes: list[str] = written([])
    repaired: list[str] | None = None


@dataclass(slots=True)
class Findings:
    """What has been found so far; problems beyond a bound are only counted."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checked: int = 0
    checked_bytes: int = 0
    skipped: int = 0
    complete: bool = True
    unlisted: int = 0
    _seen: set[tuple[int, str]] = field(default_factory=set)

    def problem(
        self,
        invariant: int,
        name: str,
        message: str,
        repair: str = REPAIR,
        *,
        artefacts: Iterable[str] = (),
        revisions: Iterable[str] = (),
    ) -> None:
        """Note a problem; one object has one problem of an invariant."""
        name = printable(name)
        if (invariant, name) in self._seen:
            return
        if len(self.problems) >= bounds.FSCK_PROBLEMS_MAX:
            self.unlisted += 1
            return
        self._seen.add((invariant, name))
        self.problems.append(
            Problem(
                invariant=invariant,
                object=name,
                artefacts=list(artefacts)[: bounds.FSCK_NAMES_MAX],
                revisions=list(revisions)[: bounds.FSCK_NAMES_MAX],
                message=printable(message),
                repair=repair,
            )
        )

    def note(self, text: str) -> None:
        """Say something that is no problem."""
        self.notes.append(printable(text))

    def report(self) -> CheckReport:
        """All of it."""
        notes = list(self.notes)
        if self.unlisted:
            notes.append(f"Problems that are not listed: {self.unlisted:,}.")
        return CheckReport(
            ok=not self.problems,
            checked=self.checked,
            checked_bytes=self.checked_bytes,
            skipped=self.skipped,
            complete=self.complete,
            problems=sorted(self.problems, key=lambda problem: (problem.invariant, problem.object)),
            notes=notes,
        )


def printable(name: str) -> str:
    """A name with what is no text (bytes that are not UTF-8) as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
