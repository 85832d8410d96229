"""The process of a soak that only looks: what was acknowledged stays, and the pointer never goes back.

`python -m renku_store.testing.soak.reader FOLDER SEED`; it is never killed.
"""

from __future__ import annotations

import faulthandler
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final

import orjson

from renku_store.errors import NotFoundError, StoreError
from renku_store.movie import Movie
from renku_store.records.ids import revision_number
from renku_store.records.manifest import ManifestStub
from renku_store.store import open_store
from renku_store.testing.soak.film import MOVIE
from renku_store.testing.soak.journal import END, JOURNAL, ROOT, Journal, parsed
from renku_store.testing.soak.upkeep import has_expired

_PAUSE_SECONDS: Final = 0.1
_LOOKS_FOR_EACH_OPENING: Final = 20


class Reader:
    """Follows the journal, and holds the movie against it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder = folder
        self._rng = rng
        self._journal = Journal(folder / JOURNAL)
        self._read = 0
        self._acknowledged: dict[str, str] = {}
        self._newest = 0

    def read(self) -> None:
        """Until the file `end` is there."""
        while not (self._folder / END).exists():
            with open_store(self._folder / ROOT) as store:
                movie = store.movie(MOVIE)
                for _ in range(_LOOKS_FOR_EACH_OPENING):
                    self._look(movie)
                    time.sleep(_PAUSE_SECONDS)

    def _look(self, movie: Movie) -> None:
        # The journal first: what is acknowledged after it was read is nothing that is looked for.
        self._follow()
        self._look_at_pointer()
        if self._acknowledged:
            newest = max(self._acknowledged)
            for revision in {newest, self._rng.choice([*self._acknowledged])}:
                self._look_at(movie, revision)

    def _follow(self) -> None:
        with self._journal.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in parsed(whole):
            if line["kind"] == "published":
                known = self._acknowledged.setdefault(line["revision"], line["hash"])
                if known != line["hash"]:
                    self._tell(f"5: {line['revision']} was acknowledged as {known} and as {line['hash']}.")

    def _look_at_pointer(self) -> None:
        path = self._folder / ROOT / MOVIE / "current.json"
        if not path.exists():
            return
        number = revision_number(orjson.loads(path.read_bytes())["revision"])
        if number < self._newest:
            self._tell(f"7: current.json went back from {self._newest} to {number}.")
        self._newest = max(self._newest, number)

    def _look_at(self, movie: Movie, revision: str) -> None:
        try:
            manifest, digest = movie.manifests.load_with_hash(revision)
        except NotFoundError:
            self._look_at_stub(movie, revision)
            return
        except StoreError as error:
            self._tell(f"5: {revision} cannot be read: {error.kind}: {error.message}")
            return
        try:
            if digest != self._acknowledged[revision]:
                self._tell(f"5: {revision} is {digest}, and was acknowledged as {self._acknowledged[revision]}.")
            for artefact in manifest.artefacts.values():
                movie.read(artefact)
            for entry in manifest.inputs.values():
                movie.value(entry)
        except StoreError as error:
            if not has_expired(movie, manifest):
                self._tell(f"5: {revision} cannot be read: {error.kind}: {error.message}")

    def _look_at_stub(self, movie: Movie, revision: str) -> None:
        """One that has gone for good: its mark and its hash stay."""
        chain = {entry.revision: (entry, digest) for entry, digest in movie.manifests.history()}
        entry, digest = chain.get(revision, (None, None))
        if not isinstance(entry, ManifestStub) or digest != self._acknowledged[revision]:
            self._tell(f"5: {revision} is {entry} ({digest}), and was acknowledged as {self._acknowledged[revision]}.")
        if movie.manifests.expiry(revision) is None:
            self._tell(f"5: {revision} has gone, and nothing says that it expired.")

    def _tell(self, violation: str) -> None:
        self._journal.write("violation", text=violation)


def main() -> None:
    """Read until the end."""
    folder, seed = sys.argv[1:]
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    Reader(Path(folder), random.Random(seed)).read()  # noqa: S311 (replayable, not a secret)


if __name__ == "__main__":
    main()
