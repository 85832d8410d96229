"""YAML to graph: parsing, expressions, inputs, expansion; and graphs that are given as JSON. Pure, all of it.

Few movies have a graph that is given: what reads it is loaded for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from renku_store.blueprint.document import Blueprint, InputSpec, LoopSpec, OutputSpec, ProducerSpec, RunSpec
from renku_store.blueprint.expand import Expansion, expand, expansion
from renku_store.blueprint.lists import Unusable
from renku_store.blueprint.overriding import check_config
from renku_store.blueprint.parse import parse_blueprint
from renku_store.blueprint.source import load_yaml_mapping
from renku_store.blueprint.values import check_input, effective_inputs, parse_value
from renku_store.late import late_names

if TYPE_CHECKING:
    from renku_store.blueprint.given import parse_graph
else:
    __getattr__ = late_names(__name__, {"given": "parse_graph"})

__all__ = [
    "Blueprint",
    "Expansion",
    "InputSpec",
    "LoopSpec",
    "OutputSpec",
    "ProducerSpec",
    "RunSpec",
    "Unusable",
    "check_config",
    "check_input",
    "effective_inputs",
    "expand",
    "expansion",
    "load_yaml_mapping",
    "parse_blueprint",
    "parse_graph",
    "parse_value",
]
