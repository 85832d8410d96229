"""Random damage to every kind of file: a check always reports, and never calls sound what cannot be read."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, note, settings
from hypothesis import strategies as st

from renku_store import StoreError, open_store
from tests.fsck.conftest import Film

_KINDS = ("flip", "cut", "empty", "remove", "garbage", "append")


def _damage(path: Path, kind: str, where: float, byte: int) -> None:
    data = bytearray(path.read_bytes())
    at = min(int(where * len(data)), max(len(data) - 1, 0))
    if kind == "remove":
        path.unlink()
        return
    if kind == "flip" and data:
        data[at] ^= byte
    elif kind == "cut":
        del data[at:]
    elif kind == "garbage":
        data[at : at + 64] = bytes([byte]) * min(64, len(data) - at)
    elif kind == "append":
        data += bytes([byte]) * 9
    path.write_bytes(b"" if kind == "empty" else data)


def _readable(film: Film) -> bool:
    """Whether every revision that is not gone, and every artefact and input of it, can be read."""
    try:
        with open_store(film.root) as store, store.examine("film") as movie:
            for number in (1, 2, 3):
                manifest = movie.manifests.load(f"rev-{number:04d}")
                for artefact in manifest.artefacts.values():
                    movie.read(artefact)
                for given in manifest.inputs.values():
                    movie.value(given)
    except StoreError as error:
        note(f"{error.kind}: {error.message}")
        return False
    return True


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6), st.sampled_from(_KINDS), st.floats(0, 1, exclude_max=True), st.integers(1, 255)
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=30)
def test_no_damage_makes_a_check_fail_or_lie(original: Path, damages: list[tuple[int, str, float, int]]) -> None:
    """Blobs, manifests, archives, plans, the pointer, the database; one byte or all of them; several at once."""
    with tempfile.TemporaryDirectory() as folder:
        film = Film(Path(shutil.copytree(original, Path(folder, "root"))))
        files = sorted(
            path
            for path in film.folder.rglob("*")
            if path.is_file() and path.name != "format.json" and path.parent.name != "locks"
        )
        for which, kind, where, byte in damages:
            path = files[which % len(files)]
            if path.exists():
                note(f"{kind} at {where:.3f} of {path.relative_to(film.folder)}")
                _damage(path, kind, where, byte)
        before = film.files()
        report = film.check()
        assert film.files() == before
        assert report.ok == (not report.problems)
        if not _readable(film):
            assert not report.ok, report
        for problem in report.problems:
            assert problem.repair.startswith("renku-store "), problem
