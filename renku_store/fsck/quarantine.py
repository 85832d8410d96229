"""Damaged and foreign bytes out of the way, never lost: `quarantine/` keeps them until a person removes them."""

from __future__ import annotations

from renku_store.blobs.verifying import Look, move_wrong, proven, stored, wrong_objects
from renku_store.drivers.base import Driver
from renku_store.errors import BlobMissingError, DamageError
from renku_store.movie import Movie


def move_blob(movie: Movie, digest: str, look: Look = proven) -> list[str]:
    """Move the wrong ones of a blob's objects away, and say of the blob what is then true; gives what was moved.

    Objects that cannot be read may be sound, and are moved by the look `fault` alone.
    """
    wrong = wrong_objects(movie.driver, digest, look)
    if not wrong:
        return []
    with movie.metadata.write() as writer:
        moved = move_wrong(movie.driver, wrong, writer.now_ms())
        if moved:
            writer.blobs.forget([digest])
            writer.checks.forget_verified([digest])
            if stored(movie.driver, digest):
                movie.blobs.revive(writer, [digest])
    return moved


def mend_row(movie: Movie, digest: str) -> str | None:
    """Let the row of a blob say what is there; gives what was done."""
    with movie.metadata.write() as writer:
        row = writer.blobs.get([digest]).get(digest)
        writer.blobs.forget([digest])
        if not stored(movie.driver, digest):
            return "its row is forgotten, as it is missing" if row is not None else None
        try:
            movie.blobs.revive(writer, [digest])
        except DamageError:
            return None
        return "its row says what is there"


def move_away(driver: Driver, name: str, now_ms: int) -> bool:
    """Move any object away, under its own name below a folder of this moment."""
    return driver.move(name, f"quarantine/{now_ms:x}/{name}")


def replace(driver: Driver, name: str, data: bytes, now_ms: int) -> None:
    """Put right bytes in the place of wrong ones at once, so that the name is never free; the wrong ones are kept."""
    if keep_copy(driver, name, now_ms):
        driver.replace(name, data)
    else:
        driver.create(name, data)


def keep_copy(driver: Driver, name: str, now_ms: int) -> bool:
    """Keep the bytes of an object that is about to be replaced; False where it is not there."""
    try:
        driver.create(f"quarantine/{now_ms:x}/{name}", driver.read(name))
    except BlobMissingError:
        return False
    return True
