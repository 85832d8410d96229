"""The store and the movie that a call of the command line works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import renku_store
from renku_cli.grammar import GlobalOptions
from renku_cli.misuse import Misuse
from renku_cli.settings import setting, used_setting
from renku_store import Movie, NotFoundError, Store, StoreError, check_movie_id, open_store


def root_of(options: GlobalOptions) -> str:
    """The build root in effect, `~` expanded."""
    root = setting("root", options.root).value or ""
    if not root:
        raise Misuse("The build root may not be empty.", hint="--root takes a folder, such as --root builds.")
    if "\0" in root:
        raise Misuse(f"{root!a} cannot be a build root: it holds a NUL character.", hint="Correct the path.")
    return os.path.expanduser(root) if root.startswith("~") else root  # noqa: PTH111 - may be a URL


def movie_of(options: GlobalOptions, store: Store) -> str:
    """The movie in effect; `NotFoundError` lists those there are where none is named and the choice is not clear."""
    with used_setting("movie", options.movie) as found:
        if found.value is not None:
            return check_movie_id(found.value)
    root = store.root
    movies = store.ids()
    if len(movies) == 1:
        return movies[0]
    if not movies:
        raise NotFoundError(f"There is no movie in {root}.", hint="`renku-store init MOVIE` creates one.")
    listed = ", ".join(movies[:10]) + (f" and {len(movies) - 10} more" if len(movies) > 10 else "")
    raise NotFoundError(
        f"{root} holds {len(movies)} movies, and none is named: {listed}.",
        hint="Name one with --movie, RENKU_STORE_MOVIE or `renku-store config movie ID`.",
    )


@contextmanager
def open_root(options: GlobalOptions) -> Iterator[Store]:
    """The store at the root in effect."""
    with used_setting("root", options.root, StoreError):
        store = open_store(root_of(options))
    with store:
        yield store


@contextmanager
def open_movie(options: GlobalOptions) -> Iterator[Movie]:
    """The movie in effect."""
    with open_root(options) as store:
        with used_setting("movie", options.movie):
            movie = store.movie(movie_of(options, store))
        with movie:
            yield movie


def concurrency_of(given: str | None = None) -> int:
    """The jobs at once that a call asks for, or the setting; `InvalidValueError` where it is no such number."""
    with used_setting("concurrency", given or None) as found:
        return renku_store.resolve_concurrency(found.value or "")
