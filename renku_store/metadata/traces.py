"""Which result may be used again: the rule that the look-up and the claim share. Keeps invariant 10."""

from __future__ import annotations

from renku_store.metadata.base import Reader
from renku_store.records.events import Trace


def usable_trace(reader: Reader, signature: str) -> Trace | None:
    """The result that people chose for a signature, else the newest, all of whose blobs are live; None without one.

    One that was only `kept`, by a holder that had lost its claim, stands behind all others. A blob without a live row
    promises nothing, whether its object is there or not (invariant 8).
    """
    traces, chosen = reader.events.takes(signature)
    newest_first = traces[::-1]
    candidates = [*([] if chosen is None else [chosen]), *sorted(newest_first, key=lambda trace: trace.kept)]
    named = {value.blob for trace in candidates for value in trace.outputs.values() if value.blob is not None}
    if not named:
        return candidates[0] if candidates else None
    live = {digest for digest, row in reader.blobs.get(named).items() if row.state == "live"}
    for trace in candidates:
        if all(value.blob is None or value.blob in live for value in trace.outputs.values()):
            return trace
    return None
