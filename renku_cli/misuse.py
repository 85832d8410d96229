"""What this command line refuses by itself, before the store is asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


class Misuse(click.UsageError):
    """A wrong use of the command line: one sentence, and a hint that says what to do."""

    def __init__(self, message: str, *, hint: str = "", ctx: click.Context | None = None) -> None:
        super().__init__(message, ctx)
        self.hint = hint


def nearest(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """A hint that names the nearest of what is known, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else otherwise
