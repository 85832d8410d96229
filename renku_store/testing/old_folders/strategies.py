"""Older layouts for hypothesis: how a folder is to be built, drawn at random and shrunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from renku_store.testing.old_folders.making import IRREGULARITIES


def revision_folders() -> st.SearchStrategy[Mapping[str, Any]]:
    """Keyword arguments of `build_revision_folder`, its seed as `seed`."""
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "segments": st.integers(1, 3),
            "images": st.integers(0, 2),
            "revisions": st.integers(1, 4),
            "irregularities": st.frozensets(st.sampled_from(sorted(IRREGULARITIES))),
        }
    )


def manifest_logs() -> st.SearchStrategy[Mapping[str, Any]]:
    """Keyword arguments of `build_manifest_logs`, its seed as `seed`."""
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "segments": st.integers(1, 3),
            "revisions": st.integers(1, 4),
            "edited": st.booleans(),
            "torn": st.booleans(),
        }
    )
