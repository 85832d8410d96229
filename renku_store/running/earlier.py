"""Earlier results of a run's jobs: which there are, and whether their bytes are really there.

Keeps invariant 8: what is missing or wrong is struck from the index, so that nothing is built on it, and made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from renku_store.errors import DamageError
from renku_store.metadata.traces import usable_trace
from renku_store.movie import Movie
from renku_store.records.events import Trace
from renku_store.records.run import LeaseToken


class EarlierResults:
    """The results that jobs of one run may take over. Every method touches the disk."""

    def __init__(self, movie: Movie, token: LeaseToken) -> None:
        self._movie = movie
        self._token = token

    def usable(self, signature: str) -> Trace | None:
        """The newest result for a signature that is there."""
        trace = self._movie.events.find_trace(signature)
        while trace is not None and not self._is_there(trace):
            trace = self._movie.events.find_trace(signature)
        return trace

    def usable_among(self, signatures: Iterable[str]) -> dict[str, Trace]:
        """The newest result that is there, as `usable` gives it, for those of the signatures that have one."""
        with self._movie.metadata.read() as reader:
            found = {known: usable_trace(reader, known) for known in reader.events.with_results(signatures)}
        traces = {known: trace for known, trace in found.items() if trace is not None}
        sizes = {value.blob: value.size for trace in traces.values() for value in trace.outputs.values() if value.blob}
        gone = self._movie.blobs.damaged(sizes) if sizes else set()
        for known, trace in [*traces.items()]:
            if any(value.blob in gone for value in trace.outputs.values()):
                other = self.usable(known)
                if other is None:
                    del traces[known]
                else:
                    traces[known] = other
        return traces

    def own(self, job_id: str, signature: str) -> Trace | None:
        """What this run itself has made for a job, before it was taken up or planned again."""
        own = [trace for trace in self._all(signature) if (trace.run, trace.job) == (self._token.run, job_id)]
        made = [trace for trace in own if not trace.kept]
        return made[-1] if made and self._is_there(made[-1]) else None

    def all_usable(self, signature: str) -> list[Trace]:
        """Every result for a signature that is there, oldest first."""
        return [trace for trace in self._all(signature) if self._is_there(trace)]

    def touched(self, traces: Sequence[Trace]) -> list[Trace]:
        """Make what these results name live again, in one transaction; gives those of which all is there."""
        digests = [value.blob for trace in traces for value in trace.outputs.values() if value.blob]
        self._movie.blobs.keep_young(digests)
        try:
            with self._movie.metadata.write() as transaction:
                self._movie.blobs.revive(transaction, digests)
        except DamageError:
            if len(traces) > 1:
                return [one for trace in traces for one in self.touched([trace])]
            self.mend(traces[0])
            return []
        return [*traces]

    def known(self, signature: str) -> frozenset[str]:
        """The ids of all results for a signature that there are by now."""
        return frozenset(trace.result for trace in self._all(signature))

    def since(self, signature: str, known: frozenset[str], ours: str) -> Trace | None:
        """The newest result that came after those `known`; what others made stands before `ours`, which is kept."""
        late = [trace for trace in self._all(signature) if trace.result not in known]
        for trace in [trace for trace in late[::-1] if not trace.kept] + [t for t in late if t.result == ours]:
            if self._is_there(trace):
                return trace
        return None

    def mend(self, trace: Trace) -> None:
        """Look closer at the blobs of a result that could not be taken over."""
        for value in trace.outputs.values():
            if value.blob is not None:
                try:
                    self._revive(value.blob)
                except DamageError:
                    self._look_closer(value.blob)

    def _all(self, signature: str) -> list[Trace]:
        with self._movie.metadata.read() as reader:
            return reader.events.traces(signature)

    def _is_there(self, trace: Trace) -> bool:
        """Whether all bytes are there; if not, they are made unusable, unless it was only the index that was wrong."""
        sizes = {value.blob: value.size for value in trace.outputs.values() if value.blob}
        gone = self._movie.blobs.damaged(sizes)
        if not gone:
            return True
        for digest in gone:
            self._look_closer(digest)
        gone = self._movie.blobs.damaged(sizes)
        self._forget(gone)
        return not gone

    def _look_closer(self, digest: str) -> None:
        """Set a damaged blob aside; of one whose bytes are right let the index say what is there."""
        if not self._movie.blobs.quarantine(digest):
            self._forget({digest})
            with suppress(DamageError):
                self._revive(digest)

    def _forget(self, digests: set[str]) -> None:
        if digests:
            with self._movie.metadata.write() as transaction:
                transaction.blobs.forget(digests)

    def _revive(self, digest: str) -> None:
        with self._movie.metadata.write() as transaction:
            self._movie.blobs.revive(transaction, [digest])
