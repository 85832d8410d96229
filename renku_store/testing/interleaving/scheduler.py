"""Who goes on: actors that stop before each step, and a choice among them that a seed decides.

Half of the schedules are random walks: at every step each actor that can go on is as likely as the others. The other
half follow the PCT strategy: random priorities, the highest goes on, and at d - 1 random steps whoever runs falls below
all others. Of n actors with k steps in all, one such schedule finds a bug of depth d with a probability of at least
1/(n k^(d-1)), which no walk can promise.
Source: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of Finding
Bugs", ASPLOS 2010.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from greenlet import getcurrent, greenlet

from renku_store.testing.interleaving.timeline import STEP_SECONDS, Timeline

STEPS_MAX: Final = 20_000
"""A schedule that takes more goes round in circles."""
_DEPTH_MAX: Final = 4

Disturbance = Callable[[], object]


class Killed(BaseException):
    """Unwinds an actor whose process was killed; like the kernel, `finally` blocks free its locks, and no more."""


class StuckError(AssertionError):
    """Nobody can go on, or nobody gets anywhere."""


class Actor:
    """One process, or one thread of it; `number` counts from 0, `process` is what is killed together."""

    __slots__ = ("error", "loop", "name", "number", "priority", "process", "ready", "run", "steps", "until")

    def __init__(self, number: int, name: str, process: str, work: Callable[[], None], parent: greenlet) -> None:
        self.number = number
        self.name = name
        self.process = process
        self.priority = 0
        self.ready: Callable[[], bool] | None = None
        self.until: float | None = None
        self.error: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.steps = 0
        self.run = greenlet(work, parent)


class Scheduler:
    """Lets actors run in turns, one at a time, as its random numbers say. For one thread."""

    def __init__(self, timeline: Timeline, random: Random, horizon: int) -> None:
        self.timeline = timeline
        self.random = random
        self.trace: list[tuple[str, str, str]] = []
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self._horizon = horizon
        self._hub = getcurrent()
        self._disturbances: dict[int, list[Disturbance]] = {}
        self._by_priority = random.random() < 0.5
        depth = random.randint(1, _DEPTH_MAX)
        self._changes = {random.randrange(horizon): -place for place in range(1, depth)} if self._by_priority else {}

    def spawn(self, name: str, work: Callable[[], None], *, process: str | None = None) -> Actor:
        """Add an actor; it begins when it is its turn. Actors of one `process` are killed together."""
        actor = Actor(len(self.actors), name, process or name, work, self._hub)
        actor.priority = self.random.randrange(1, 1 << 30)
        self.actors.append(actor)
        return actor

    def disturb(self, disturbance: Disturbance) -> None:
        """Let something happen between two steps, at a random moment within the horizon."""
        self._disturbances.setdefault(self.random.randrange(self._horizon), []).append(disturbance)

    # What actors call

    def step(self, what: str, about: str = "") -> None:
        """Stop before an operation, until it is this actor's turn. Outside of actors nothing waits."""
        actor = self.current
        if actor is None:
            return
        if actor.error is not None:
            raise Killed
        self.trace.append((actor.name, what, about))
        self._hub.switch()

    def wait(self, what: str, about: str, ready: Callable[[], bool], seconds: float) -> bool:
        """Stop until something is so, or for some time; says whether it is."""
        actor = self.current
        if actor is None:
            return ready()
        actor.until = self.timeline.elapsed + seconds
        actor.ready = ready
        self.step(what, about)
        return ready()

    def sleep(self, seconds: float) -> None:
        """Stop for some time."""
        self.wait("sleep", "", _never, seconds)

    # What the scenario calls

    def kill(self, process: str) -> bool:
        """Kill a process as SIGKILL does; False if it has ended already."""
        struck = False
        for actor in self.actors:
            if actor.process == process and not actor.run.dead:
                struck = True
                actor.error = Killed()
                self.trace.append((actor.name, "KILLED", ""))
                self._switch(actor, actor.error)
        return struck

    def hold_up(self, process: str, seconds: float) -> None:
        """Let a process stand still for some time, as SIGSTOP, a laptop that is closed, or a disk that hangs would."""
        for actor in self.actors:
            if actor.process == process and actor.ready is None:
                actor.ready, actor.until = _never, self.timeline.elapsed + seconds

    def running(self, process: str) -> bool:
        """Whether a process is still there."""
        return any(actor.process == process and not actor.run.dead for actor in self.actors)

    def run(self) -> None:
        """Until every actor has ended. Raises `StuckError`, and whatever an actor raises that it was not killed by."""
        for turn in range(STEPS_MAX):
            for disturbance in self._disturbances.pop(turn, ()):
                disturbance()
            actor = self._choose(turn)
            if actor is None:
                return
            actor.ready, actor.until = None, None
            actor.steps += 1
            self.timeline.pass_by(STEP_SECONDS)
            self._switch(actor)
        raise StuckError(f"There is no end after {STEPS_MAX} steps.")

    def _choose(self, turn: int) -> Actor | None:
        while True:
            alive = [actor for actor in self.actors if not actor.run.dead]
            if not alive:
                return None
            now = self.timeline.elapsed
            able = [
                actor
                for actor in alive
                if actor.ready is None or (actor.until is not None and actor.until <= now) or actor.ready()
            ]
            if able:
                break
            # Everybody waits: time goes by until the first one has waited long enough.
            waits = [actor.until for actor in alive if actor.until is not None]
            self.timeline.pass_until(min(waits))
        if not self._by_priority:
            return able[0] if len(able) == 1 else self.random.choice(able)
        chosen = max(able, key=_priority)
        if turn in self._changes:
            chosen.priority = self._changes[turn]
        return chosen

    def _switch(self, actor: Actor, error: BaseException | None = None) -> None:
        before, self.current = self.current, actor
        asyncio._set_running_loop(actor.loop)  # noqa: SLF001 (each actor may be within an event loop of its own)
        try:
            if error is None:
                actor.run.switch()
            else:
                actor.run.throw(error)
        except Killed:
            pass
        finally:
            actor.loop = asyncio._get_running_loop()  # noqa: SLF001
            asyncio._set_running_loop(None)  # noqa: SLF001
            self.current = before


def _never() -> bool:
    return False


def _priority(actor: Actor) -> int:
    return actor.priority
