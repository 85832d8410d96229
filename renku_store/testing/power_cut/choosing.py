"""Which disks to look at: drawn at random (hypothesis or a seed), or swept over every moment of a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from renku_store.testing.power_cut.disk import SECTOR_BYTES, DiskState, Torn
from renku_store.testing.power_cut.journal import Data, Journal, Names, Size, Sync, SyncAll

_FILLERS: Final = (None, 0, 0xA5)
"""Not grown, grown by zeros, grown by what the disk held before."""
_TORN_MAX: Final = 3
"""Writes torn in one state: what more would show, more states do."""


def pending(journal: Journal, position: int) -> list[int]:
    """The changes among the first `position` calls that no sync has made durable, in their order."""
    unsynced: dict[int, list[int]] = {}
    for number, call in enumerate(journal.calls[:position]):
        match call:
            case Names(node) | Data(node) | Size(node):
                unsynced.setdefault(node, []).append(number)
            case Sync(node):
                unsynced.pop(node, None)
            case SyncAll():
                unsynced.clear()
    return sorted(number for numbers in unsynced.values() for number in numbers)


def cut(journal: Journal, random: Random, *, position: int | None = None) -> DiskState:
    """A disk that a cut may leave, drawn from `random`: `Random(seed)`, or `randoms(use_true_random=False)`.

    `position` is how many calls were made; drawn too if it is not given. The first choices, which hypothesis shrinks
    to, lose least.
    """
    if position is None:
        moments = range(len(journal.calls), -1, -1) if random.randrange(2) else _turning_points(journal)
        position = moments[random.randrange(len(moments))]
    waiting = pending(journal, position)
    lost = _lost(journal, waiting, random) if waiting else set[int]()
    torn: dict[int, Torn] = {}
    writes = [number for number in sorted(lost) if isinstance(journal.calls[number], Data)]
    for _ in range(random.randint(0, min(_TORN_MAX, len(writes)))):
        number = writes[random.randrange(len(writes))]
        call = journal.calls[number]
        assert isinstance(call, Data)
        torn[number] = _torn(call, random)
    filler = _FILLERS[random.randrange(len(_FILLERS))]
    return DiskState(journal, position, frozenset(lost - torn.keys()), torn, filler)


def _turning_points(journal: Journal) -> list[int]:
    """The moments around every call but a write that follows a write of the same file, latest first."""
    last = len(journal.calls)
    points = {last}
    before = None
    for number, call in enumerate(journal.calls):
        node = call.node if isinstance(call, Data) else None
        if node is None or node != before:
            points |= {number, number + 1}
        before = node
    return sorted(points, reverse=True)


def _lost(journal: Journal, waiting: list[int], random: Random) -> set[int]:
    """Some of what waits for a sync; each way to choose finds mistakes of another kind."""
    kind = random.randrange(7)
    if kind == 0:
        return {waiting[random.randrange(len(waiting))]}
    if kind == 1:  # all but one: it overtook the others
        return set(waiting) - {waiting[random.randrange(len(waiting))]}
    if kind == 2:  # all after a moment: they are written in their order
        return set(waiting[random.randrange(len(waiting)) :])
    if kind == 3:  # names before bytes
        return {number for number in waiting if not isinstance(journal.calls[number], Names)}
    if kind == 4:  # bytes before names
        return {number for number in waiting if isinstance(journal.calls[number], Names)}
    if kind == 5:  # one file or folder
        nodes = sorted({_node(journal, number) for number in waiting})
        chosen = nodes[random.randrange(len(nodes))]
        return {number for number in waiting if _node(journal, number) == chosen}
    mask = random.getrandbits(len(waiting))
    return {number for place, number in enumerate(waiting) if mask >> place & 1}


def _node(journal: Journal, number: int) -> int:
    call = journal.calls[number]
    assert isinstance(call, Names | Data | Size)
    return call.folder if isinstance(call, Names) else call.node


def _torn(write: Data, random: Random) -> Torn:
    size = len(write.data)
    if random.randrange(2) == 0:
        return Torn(head=random.randint(0, size))
    sectors = (write.offset % SECTOR_BYTES + size - 1) // SECTOR_BYTES + 1
    return Torn(head=0, sectors=random.getrandbits(sectors))


def sweep(journal: Journal, *, every: int = 1) -> Iterator[DiskState]:
    """The extremes at each moment, each disk once; `every` takes each n-th of them only.

    They are: nothing lost (a kill), all lost, only names, only bytes; and before each sync and at each promise every
    single change lost alone, or kept alone, of files and folders that are synced at some time.
    """
    seen: set[tuple[frozenset[int], int]] = set()
    for number, state in enumerate(_extremes(journal)):
        if number % every == 0:
            changes = (
                n for n, call in enumerate(journal.calls[: state.position]) if not isinstance(call, Sync | SyncAll)
            )
            key = frozenset(changes) - state.lost, len(state.promises)
            if key not in seen:
                seen.add(key)
                yield state


def _extremes(journal: Journal) -> Iterator[DiskState]:
    moments = {place for place, _ in journal.promises}
    moments |= {place for place, call in enumerate(journal.calls) if isinstance(call, Sync | SyncAll)}
    synced = {call.node for call in journal.calls if isinstance(call, Sync)}
    for position in range(len(journal.calls) + 1):
        waiting = pending(journal, position)
        everything = frozenset(waiting)
        names = frozenset(number for number in waiting if isinstance(journal.calls[number], Names))
        for lost in dict.fromkeys((frozenset[int](), everything, names, everything - names)):
            yield DiskState(journal, position, lost)
        for number in waiting if position in moments else ():
            if _node(journal, number) in synced:
                yield DiskState(journal, position, frozenset({number}))
                yield DiskState(journal, position, everything - {number})


def minimal(state: DiskState, fails: Callable[[DiskState], bool]) -> DiskState:
    """A state that fails still and loses as little as possible: each loss that the failure can do without is undone."""
    for number in sorted(state.lost | state.torn.keys()):
        torn = {place: part for place, part in state.torn.items() if place != number}
        less = DiskState(state.journal, state.position, state.lost - {number}, torn, state.filler)
        if fails(less):
            state = less
    return state
