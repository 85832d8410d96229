"""Copying movies to another build root: what is missing there, verified, in the order of publishing, resumable."""

from renku_store.copying.movies import copy_movies
from renku_store.copying.reports import CopyProgress, CopyReport, MovieCopy, UncopiedObject

__all__ = ["CopyProgress", "CopyReport", "MovieCopy", "UncopiedObject", "copy_movies"]
