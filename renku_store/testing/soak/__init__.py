"""A soak: many processes work at random on one movie, and are killed and stopped at random, all the while.

    python -m renku_store.testing.soak [SECONDS [SEED]]

Each process writes down every call of a provider and everything that was acknowledged to it, outside of the movie. At
the end the movie is held against that, against the invariants (`renku_store.testing.invariants`), and against what its
inputs make.
"""

from renku_store.testing.soak.processes import soak as soak
from renku_store.testing.soak.verdict import SoakReport as SoakReport
