"""Whether the server itself compares what arrives with a checksum, so that nothing has to be compared from here.

It is found out by a trial, once in a process and for each kind of upload, and not before so much was sent that this
pays. Whoever gets no answer that tells compares from here.
"""

from __future__ import annotations

import secrets
import threading

from renku_store import bounds
from renku_store.drivers.forking import anew_after_fork
from renku_store.drivers.objects.client import ObjectClient


class Comparison:
    """What is known of one root's server; `trials` is the prefix of keys that nobody uses. For many threads."""

    def __init__(self, client: ObjectClient, trials: str) -> None:
        self._client = client
        self._trials = trials
        self._known: dict[bool, bool] = {}
        self._sent_bytes = {False: 0, True: 0}
        self.begin_anew()
        anew_after_fork(self)

    def begin_anew(self) -> None:
        """After a fork: nobody is asking here."""
        self._lock = threading.Lock()

    def made_by_server(self, size: int, *, in_parts: bool) -> bool:
        """Whether the server compares an upload of `size` bytes that is about to be sent; asks it now and then."""
        with self._lock:
            known = self._known.get(in_parts)
            if known is not None:
                return known
            self._sent_bytes[in_parts] += size
            if self._sent_bytes[in_parts] < bounds.OBJECT_TRIAL_FROM_BYTES:
                return False
            # The others do not wait for the answer; where none comes, it is asked for again after as many bytes.
            self._sent_bytes[in_parts] = 0
        answer = self._client.compares_checksums(f"{self._trials}{secrets.token_hex(8)}/sum", in_parts=in_parts)
        if answer is not None:
            self._known[in_parts] = answer
        return bool(answer)
