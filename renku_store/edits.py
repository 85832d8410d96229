"""What people change between runs: inputs, checked against the blueprint that declares them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from renku_store import blueprint as blueprints
from renku_store.blueprint import Blueprint, check_config, check_input, parse_blueprint
from renku_store.errors import NotFoundError
from renku_store.hashing import canonical_json
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import InputEvent
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import check_id
from renku_store.records.inputs import BLUEPRINT, CONFIG


def set_inputs(movie: Movie, values: Mapping[str, Json], *, edited_by: str = "user") -> list[InputEvent]:
    """Append movie-wide edits, all or none; the next run that plans takes them.

    Ids and types are checked against the movie's blueprint, of `@config` only the form: a producer that it names may
    come later. Raises `InvalidIdError`, `InvalidValueError`, `NotFoundError`.
    """
    blueprint = _blueprint_of(movie, values)
    for key, value in values.items():
        check_id("input", key)
        if key.startswith("@"):
            _check_reserved(key, value)
        elif isinstance(blueprint, Blueprint):
            check_input(blueprint, key, value)
        canonical_json(value)
    return movie.events.append_inputs(values, edited_by=edited_by)


def _check_reserved(key: str, value: Json) -> None:
    if key not in (BLUEPRINT, CONFIG):
        near = difflib.get_close_matches(key, (BLUEPRINT, CONFIG), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Of names with an @ there are {BLUEPRINT} and {CONFIG} only."
        raise NotFoundError(f"There is no input {key}.", hint=hint)
    if key == CONFIG:
        check_config(value)


def movie_blueprint(movie: Movie) -> Blueprint | ProducerGraph | None:
    """The movie's present blueprint or graph, pending edits included; None before it has one."""
    return _blueprint_of(movie, {})


def _blueprint_of(movie: Movie, values: Mapping[str, Json]) -> Blueprint | ProducerGraph | None:
    source: Any = values.get(BLUEPRINT)
    if source is None:
        event = next(
            (e for e in reversed(movie.events.pending()) if isinstance(e, InputEvent) and e.input == BLUEPRINT), None
        )
        current = movie.manifests.current() if event is None else None
        if event is not None:
            source = movie.events.read_value(event)
        elif current is not None and BLUEPRINT in current[0].inputs:
            source = movie.value(current[0].inputs[BLUEPRINT])
    if isinstance(source, str):
        return parse_blueprint(source, BLUEPRINT)
    return blueprints.parse_graph(source, None) if isinstance(source, dict) else None
