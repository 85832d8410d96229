"""The sample movie's blueprint and inputs, as they come with the package: from a wheel, a checkout or a zip."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

NAME: Final = "water-cycle"


def sample_blueprint() -> str:
    """Return the blueprint (YAML)."""
    return (files("renku_store.producers.demo") / f"{NAME}.yaml").read_text("utf-8")


def sample_inputs() -> str:
    """Return the inputs (YAML)."""
    return (files("renku_store.producers.demo") / f"{NAME}-inputs.yaml").read_text("utf-8")
