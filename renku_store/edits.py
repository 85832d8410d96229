"""What people change between runs: inputs, checked against the blueprint that declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renku_store import blueprint as blueprints
from renku_store.blueprint import Blueprint, check_config, check_input, parse_blueprint
from renku_store.hashing import canonical_json
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import InputEvent
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import check_id
from renku_store.records.inputs import BLUEPRINT, CONFIG, check_reserved


def set_inputs(movie: Movie, values: Mapping[str, Json], *, edited_by: str = "user") -> list[InputEvent]:
    """Append movie-wide edits, all or none; the next run that plans takes them.

    Ids and types are checked against the movie's blueprint, of `@config` only the form: a producer that it names may
    come later. Raises `InvalidIdError`, `InvalidValueError`, `NotFoundError`.
    """
    check_reserved(values)
    blueprint = _blueprint_of(movie, values)
    for key, value in values.items():
        check_id("input", key)
        if key == CONFIG:
            check_config(value)
        elif not key.startswith("@") and isinstance(blueprint, Blueprint):
            check_input(blueprint, key, value)
        canonical_json(value)
    return movie.events.append_inputs(values, edited_by=edited_by)


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
