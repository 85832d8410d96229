"""Looks at a root as `doctor` does: what its driver declares and, where others write too, what a probe finds."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from renku_store.clock import SystemClock
from renku_store.drivers.base import shares_index
from renku_store.drivers.guarding import GuardedDriver
from renku_store.drivers.opening import open_driver
from renku_store.drivers.probe import ProbeReport, probe
from renku_store.errors import StoreUnavailableError


def probe_root(root: str | os.PathLike[str], **options: Any) -> ProbeReport:
    """Try out whether movies are safe at a root, whatever is known of it already; `options` are those of `open_store`.

    A remote root is written to, read from and listed, below `.renku-probe/`, and left as it was. A folder of this
    machine, and memory, are asked only what they guarantee. Where the credentials allow to read and not to write, the
    report says so. Raises `StoreUnavailableError` where the root cannot be reached or, for another reason, written to,
    `InvalidValueError` for what is no root.
    """
    driver = open_driver(os.fspath(root), options)
    try:
        if isinstance(driver, GuardedDriver):
            return _asked(driver)
        return probe(driver, SystemClock(), by_trial=not shares_index(driver))
    finally:
        driver.close()


def _asked(driver: GuardedDriver) -> ProbeReport:
    try:
        return driver.gate.ask()
    except StoreUnavailableError as error:
        if error.reason != "denied":
            raise
        next(iter(driver.children("")), None)  # where reading is not allowed either, that is what is wrong
        told = probe(driver, SystemClock(), driver.gate.via, by_trial=False)
        return replace(told, denied=error.message)
