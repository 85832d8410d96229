"""Limits and retries of calls, from the sections `[limits.KEY]` and `[retry]` of the config file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from renku_cli.misuse import Misuse
from renku_cli.settings import config_path, read_config
from renku_store import (
    InvalidValueError,
    Limits,
    Produce,
    RetryPolicy,
    read_limits,
    read_retry,
    with_limits,
    with_retry,
)

T = TypeVar("T")

SECTIONS: Final = ("limits", "retry")
"""Keys of the config file that are sections: a person writes them there, `config` shows them."""


def limited(produce: Produce) -> Produce:
    """Keep calls to the limits of the config file, and try again what may pass; `Misuse` where it says nonsense."""
    return with_retry(with_limits(produce, configured_limits()), configured_retry())


def configured_limits() -> Limits:
    """The limits of each key."""
    return Limits(_read("limits", read_limits))


def configured_retry() -> RetryPolicy:
    """When calls are tried again."""
    return _read("retry", read_retry)


def shown_sections() -> dict[str, dict[str, Mapping[str, str | int]]]:
    """What is in effect, as it would be written: each section of limits by its key, and that of retries."""
    policy = configured_retry()
    retry: dict[str, str | int] = {
        "attempts": policy.attempts,
        "base": f"{policy.base_seconds:g}s",
        "longest": f"{policy.longest_seconds:g}s",
        "total": f"{policy.total_seconds:g}s",
    }
    limits = {key: rule.written() for key, rule in configured_limits().rules.items()}
    return {"limits": dict(limits), "retry": {"": retry}}


def _read(section: str, reader: Callable[[object], T]) -> T:
    path = config_path()
    try:
        return reader(read_config(path).get(section, {}))
    except InvalidValueError as error:
        raise Misuse(f"In the config file {path}, {error.message}", hint=error.hint) from error
