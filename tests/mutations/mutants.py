"""Lines that an invariant rests on, each with a change that takes it away, and the tests that must then fail."""

from __future__ import annotations

from tests.mutations import what_is_stored, who_may

MUTANTS = (*what_is_stored.MUTANTS, *who_may.MUTANTS)
