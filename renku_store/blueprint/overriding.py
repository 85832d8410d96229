"""What is laid over the config of producers and jobs, by the blueprint and by the movie: whether it names what is.

A job of a list in an artefact is not known before that list is; and once it is, a name without a place is told, not
refused: nobody knew how long the list would be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from renku_store.blueprint.document import Blueprint
from renku_store.blueprint.family import Family
from renku_store.blueprint.names import argv_fault, nearest
from renku_store.blueprint.places import describe
from renku_store.errors import InvalidValueError
from renku_store.records._base import Json
from renku_store.records.graph import EVERY_LABEL

_CONFIG_FORM: Final = "Its form is {PRODUCER or JOB: {config: {KEY: VALUE}}}."
_TARGET: Final = re.compile(r"([^\[]+)((?:\[[^\[\]]+\])*)")
Overrides = Mapping[str, Mapping[str, Json]]


def blueprint_overrides(blueprint: Blueprint, families: Mapping[str, Family], warnings: list[str]) -> Overrides:
    """The overrides of a blueprint; what names nothing and may not be refused is added to `warnings`."""
    for target in blueprint.overrides:
        found = _find(target, families)
        if found == "not in its list":
            warnings.append(_told("The blueprint overrides", target, families))
        elif found == "nowhere":
            raise blueprint.place("overrides", target).error(
                f"There is no job {target} to override.", _nearest_target(target, families)
            )
    return blueprint.overrides


def check_config(config: Json) -> Overrides:
    """What a `@config` says for each target, whatever producers there are; `InvalidValueError` for another form."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InvalidValueError(f"@config must be a mapping, not {describe(config)}.", hint=_CONFIG_FORM)
    overrides: dict[str, Mapping[str, Json]] = {}
    for target, value in config.items():
        changes = value.get("config") if isinstance(value, dict) and value.keys() == {"config"} else None
        if not isinstance(changes, dict):
            raise InvalidValueError(f"@config has no `config` mapping for {target}, or more.", hint=_CONFIG_FORM)
        overrides[target] = changes
    return overrides


def movie_overrides(config: Json, families: Mapping[str, Family], warnings: list[str]) -> Overrides:
    """The same from `@config`, which a person sets without the blueprint's text at hand."""
    overrides = check_config(config)
    for target, changes in overrides.items():
        found = _find(target, families)
        if found == "not in its list":
            warnings.append(_told("@config names", target, families))
        elif found == "nowhere":
            raise InvalidValueError(
                f"@config names {target}, which is no producer and no job.", hint=_nearest_target(target, families)
            )
        runs_command = families[target.partition("[")[0]].spec.run.provider == "command"
        problem = argv_fault(changes["argv"]) if runs_command and "argv" in changes else None
        if problem:
            raise InvalidValueError(f"@config: argv of {target} {problem}.", hint='For example ["python3", "make.py"].')
    return overrides


def _find(target: str, families: Mapping[str, Family]) -> Literal["there", "not in its list", "nowhere"]:
    """Whether a target is a producer, or a place of its loops, with a job or without one, or may come to be one."""
    match = _TARGET.fullmatch(target)
    if match is None or match[1] not in families:
        return "nowhere"
    family = families[match[1]]
    labels = tuple(match[2][1:-1].split("][")) if match[2] else ()
    if EVERY_LABEL in labels:
        return "nowhere"
    if not labels or family.may_have(labels):
        return "there"
    return "not in its list" if family.is_made and len(labels) == len(family.labels) else "nowhere"


def _told(who: str, target: str, families: Mapping[str, Family]) -> str:
    return f"{who} {target}, which is not there: {_nearest_target(target, families)}"


def _nearest_target(target: str, families: Mapping[str, Family]) -> str:
    family = families.get(target.partition("[")[0])
    return nearest(target, family.names() if family else families)
