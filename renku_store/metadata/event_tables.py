"""What is asked of the tables of events: look-ups, pages of the log, and appending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from renku_store.records.events import ArtefactEvent, ArtefactStatus, Event, InputEvent, RunEvent, Trace


class RunOutcome(NamedTuple):
    """What one artefact event says of its job, of the result of which it is an output, and of what that took."""

    status: ArtefactStatus
    job: str | None
    result: str | None
    cost: float | None


class EventReads(Protocol):
    """Look-ups in the event tables; each by an index, whatever the history."""

    def latest_input(self, input_id: str) -> InputEvent | None:
        """The newest value of an input: movie-wide edits and published runs."""
        ...

    def latest_inputs(self) -> dict[str, InputEvent]:
        """The newest value of every input."""
        ...

    def input_at(self, input_id: str, revision: int) -> InputEvent | None:
        """The value of an input as of a revision."""
        ...

    def latest_artefact(self, artefact_id: str) -> ArtefactEvent | None:
        """The newest event of an artefact that gave it a value, of whatever run."""
        ...

    def artefact_at(self, artefact_id: str, revision: int) -> ArtefactEvent | None:
        """The event that gave an artefact the value it has in a revision."""
        ...

    def inputs_after(
        self, seq: int, limit: int, *, run: str | None = None, about: str | None = None
    ) -> list[InputEvent]:
        """Input events beyond `seq`, oldest first, at most `limit`; of one run, or of one input (`about`), if named."""
        ...

    def artefacts_after(
        self, seq: int, limit: int, *, run: str | None = None, about: str | None = None
    ) -> list[ArtefactEvent]:
        """Artefact events beyond `seq`, oldest first, at most `limit`; of one run, or one artefact or job (`about`)."""
        ...

    def runs_after(self, seq: int, limit: int, *, run: str | None = None) -> list[RunEvent]:
        """Run events beyond `seq`, oldest first, at most `limit`; of one run only if named."""
        ...

    def outcomes(self, run: str) -> list[RunOutcome]:
        """What the artefact events of a run say of jobs, results and costs, in order."""
        ...

    def pending_inputs(self) -> list[InputEvent]:
        """Movie-wide input edits that no published run has taken, oldest first."""
        ...

    def pending_artefacts(self) -> list[ArtefactEvent]:
        """Movie-wide artefact events that no published run has taken, oldest first."""
        ...

    def overruled(self) -> set[str]:
        """The ids of pending edits that people made before another one of the same, which is pending no longer.

        Of inputs, of versions of an artefact, and of choices of its takes; when one was made tells its id.
        """
        ...

    def traces(self, signature: str) -> list[Trace]:
        """Every result for a signature, oldest first."""
        ...

    def takes(self, signature: str) -> tuple[list[Trace], Trace | None]:
        """Every result for a signature, oldest first; and the one that people chose or accepted for it, if any.

        That one may have been made for another signature; it comes with this one.
        """
        ...

    def with_results(self, signatures: Iterable[str]) -> set[str]:
        """Those of some signatures for which there is a result, of whatever worth, or a choice of one."""
        ...

    def artefact_revisions(self, artefact_id: str) -> list[tuple[int, str | None]]:
        """The revisions that changed an artefact, oldest first, with its new hash (None: it was no more)."""
        ...

    def failed(self, signatures: Iterable[str]) -> set[str]:
        """Those of the signatures whose newest attempt failed."""
        ...

    def durations(self, producers: Iterable[str]) -> dict[str, float]:
        """Seconds that a call takes on average, the last twenty or so, for those of the producers that are known."""
        ...

    def watermarks(self, revision: int) -> tuple[int, int]:
        """The last input and artefact `seq` when the revision was booked (0, 0 for revision 0)."""
        ...

    def last_id(self) -> str:
        """The greatest id of an event, as of the first call or the last append here if that was later; "" for none."""
        ...

    def last_seq(self) -> tuple[int, int]:
        """The last input and artefact `seq` there is."""
        ...


class EventWrites(EventReads, Protocol):
    """Appending."""

    def append(self, events: Sequence[Event]) -> list[Event]:
        """Append events, derive look-ups and traces from them, and return them with their `seq`.

        Events of all kinds are numbered in one row, in the order in which they become durable.

        Artefact events of status `succeeded` or `kept` that share `result` and carry a signature become one trace;
        those `kept` do not become the latest value of their artefact. Events whose `id` is already there are left alone
        (a rebuild may see them twice), and what is stored comes back instead.
        """
        ...

    def add(self, events: Sequence[Event]) -> None:
        """Append events, as `append`, for who does not ask for their `seq`."""
        ...
