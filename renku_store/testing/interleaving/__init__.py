"""Protocols run step by step: real code over a simulated disk, real transactions, a fake clock, a schedule from a seed.

    Scenario      what several processes do at once, where it begins, and what must hold at the end
    explore       runs a scenario under many schedules; the first one that breaks something is told step by step
    replay        runs the one schedule of a seed again, exactly

An *actor* is a process: it runs the code of the store (`BlobStore`, `EventLog`, `Committer`, `RunLeases`, `collect`)
and stops before every operation on the driver and before every transaction; then the scheduler says who goes on. It
may be killed there: it never runs again, its locks are free, its transaction is rolled back. Clocks may jump.
A schedule is a function of scenario and seed, nothing else: no thread, no real time, no order of a set.

A *fleet* is several machines that share objects and nothing else (`SharedObjects`), each with its own wrong clock.

For an author of a driver: what `SimulatedDriver` does in one step is what a driver may do at most as several, and its
docstring says which; a driver that offers less atomicity than that is not safe under these protocols.
"""

from renku_store.testing.interleaving.fleet import Fleet
from renku_store.testing.interleaving.machine import Machine, Snapshot
from renku_store.testing.interleaving.scenario import Exploration, Scenario, ScheduleError, explore, replay
from renku_store.testing.interleaving.scheduler import Killed, Scheduler, StuckError
from renku_store.testing.interleaving.shared_objects import SharedObjects
from renku_store.testing.interleaving.storage import SimulatedDriver, Storage
from renku_store.testing.interleaving.timeline import Timeline

__all__ = [
    "Exploration",
    "Fleet",
    "Killed",
    "Machine",
    "Scenario",
    "ScheduleError",
    "Scheduler",
    "SharedObjects",
    "SimulatedDriver",
    "Snapshot",
    "Storage",
    "StuckError",
    "Timeline",
    "explore",
    "replay",
]
