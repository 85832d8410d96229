"""Many objects as they come: large ones fetched by this thread alone where the client can, others by a thread each.

Each is put together in the thread that takes it: memory that it gives back is at hand for the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from renku_store.drivers.objects.client import OneThreadFetches
from renku_store.drivers.objects.limiting import LimitedClient, Permit
from renku_store.drivers.objects.working import Workers

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LARGE_BYTES: Final = 1_048_576
"""From here a thread that is woken for each piece of a reply takes longer than one for all replies."""

_FEW: Final = 8
"""So many objects are not worth a loop of their own."""

Fetch = Callable[[str], "Sequence[ReadableBuffer] | None"]
"""Gives an object in pieces, or None where there is none; from any thread."""


def fetch_each(
    names: Iterable[str], fetch: Fetch, workers: Workers, client: LimitedClient | None, key: Callable[[str], str]
) -> Iterator[tuple[str, bytes]]:
    """Each name once, with its bytes, as soon as it came; those that are not there are left out.

    As many as there are `workers` are asked for ahead of who takes them, of small ones twice as many. The first go by
    `client`, whose keys `key` makes, and all others as long as no small one came and nobody else needs its permits;
    what could not be had there at once is left to `fetch`.
    """
    every = [*dict.fromkeys(names)]
    waiting, left = iter(every), list[str]()
    together = client.fetches_of_one_thread() if client is not None and len(every) > _FEW else None
    if client is not None and together is not None:
        with contextlib.closing(together), client.permits.none() as permit:
            yield from _together(waiting, together, permit, key, left)
    yield from _by_threads(chain(left, waiting), fetch, workers)


def _together(
    waiting: Iterator[str], together: OneThreadFetches, permit: Permit, key: Callable[[str], str], left: list[str]
) -> Iterator[tuple[str, bytes]]:
    under_way: dict[str, str] = {}
    large = True
    while True:
        permit.narrow(len(under_way))  # others who wait go before the next one
        if large:
            permit.widen()
        new = {key(name): name for name in islice(waiting, permit.count - len(under_way))}
        under_way |= new
        together.begin(new)
        came = together.next()
        if came is None:
            return
        name, data = under_way.pop(came[0]), came[1]
        del came  # what was taken is to be free before the next one comes
        large = large and data is not None and len(data) >= LARGE_BYTES
        if data is None:
            left.append(name)
        else:
            yield name, data
            del data


def _by_threads(names: Iterable[str], fetch: Fetch, workers: Workers) -> Iterator[tuple[str, bytes]]:
    fetched: dict[str, Sequence[ReadableBuffer]] = {}
    small: bool | None = None

    def fetch_one(name: str) -> None:
        nonlocal small
        pieces = fetch(name)
        if pieces is not None:
            fetched[name] = pieces
            small = small is not False and len(pieces) == 1

    for name in workers.each(fetch_one, names, lambda: bool(small)):
        if name in fetched:
            yield name, b"".join(fetched.pop(name))
