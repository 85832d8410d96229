"""The kinds of errors: what they say goes wherever they go."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import renku_store
from renku_store import InputConflictError, ManifestConflictError, StoreError

KINDS = [
    kind
    for name in renku_store.__all__
    if isinstance(kind := getattr(renku_store, name), type) and issubclass(kind, StoreError)
]
NEEDED = {
    ManifestConflictError: {"expected": "a" * 64, "actual": "b" * 64},
    InputConflictError: {"values": {"voice": ("de", "en")}},
}


def made(kind: type[StoreError]) -> StoreError:
    """An error of a kind, with a hint."""
    return kind("The film is gone.", hint="Look for it.", **NEEDED.get(kind, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_can_be_copied_and_handed_to_another_process(kind: type[StoreError]) -> None:
    """With everything that it says."""
    error = made(kind)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (str(again), vars(again)) == (str(error), vars(error))


def _fails() -> None:
    raise made(ManifestConflictError)


def test_a_conflict_in_a_process_of_a_pool_leaves_the_pool_whole() -> None:
    """It reaches who asked, and the pool goes on."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.raises(ManifestConflictError, match="film"):
            pool.submit(_fails).result()
        assert pool.submit(abs, -1).result() == 1
