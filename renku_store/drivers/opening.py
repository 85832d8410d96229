"""Finds the driver of a root by the scheme of its URL: those that come along, then those that installed packages offer.

A package offers a driver by an entry point in the group `renku_store.drivers`: its name is the scheme, its object a
function of the URL and the options, which gives the driver. What such a driver declares is tried out before the first
write, as with every storage that was not made here. The code of a driver is imported when its first root is
opened, because most programs need one, and the libraries for object storage take long to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

from renku_store.drivers.base import Driver
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.urls import DriverFactory, checked_path, refuse_unknown_options, scheme_of, without_secrets
from renku_store.errors import InvalidValueError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from renku_store.drivers.guarding import GuardedDriver

ENTRY_POINT_GROUP: Final = "renku_store.drivers"

SCHEMES: Final[Mapping[str, str]] = {
    "file": "renku_store.drivers.opening:open_folder",
    "memory": "renku_store.drivers.memory.driver:open_memory",
    "s3": "renku_store.drivers.objects.opening:open_s3",
    "s3+fsspec": "renku_store.drivers.objects.opening:open_s3_fsspec",
    "s3+obstore": "renku_store.drivers.objects.opening:open_s3_obstore",
}
"""Where the factories of the schemes are that come along, as `module:function`."""
_OTHERS: Final = "renku_store.drivers.objects.opening:open_fsspec"
"""The factory for what fsspec has a file system for."""


def open_driver(root: str, options: Mapping[str, Any] | None = None) -> Driver:
    """The driver for a root: a path, or a URL such as `memory://films` or `s3://bucket/videos`.

    Raises `StoreUnavailableError` where there is no driver for it, or it cannot be reached; `InvalidValueError` for an
    option that its driver does not know, and for what is no root.
    """
    scheme = scheme_of(root)
    given = dict(options or {})
    if scheme is None:
        refuse_unknown_options(root, given)
        return LocalDriver(checked_path(root))
    if scheme in SCHEMES:
        return _load(scheme, SCHEMES[scheme])(root, given)
    point = _offered(scheme)
    if point is not None:
        return _open_offered(scheme, point, root, given)
    if scheme not in import_module("fsspec.registry").available_protocols():
        raise StoreUnavailableError(
            f"There is no driver for {scheme}:// roots.",
            hint=f"Use a folder, {', '.join(f'{known}://' for known in SCHEMES)}, or install a package that offers it.",
        )
    return _load(scheme, _OTHERS)(root, given)


def open_folder(url: str, options: Mapping[str, Any]) -> LocalDriver:
    """The folder that a `file://` URL names."""
    refuse_unknown_options(url, options)
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
        raise InvalidValueError(
            f"{without_secrets(url)} does not name a folder of this machine.",
            hint="Write file:///absolute/path, or the path alone.",
        )
    return LocalDriver(checked_path(unquote(parts.path, errors="surrogateescape")))


def _load(scheme: str, place: str) -> DriverFactory:
    module, _, name = place.partition(":")
    try:
        factory: DriverFactory = getattr(import_module(module), name)
    except ImportError as error:
        raise StoreUnavailableError(
            f"The driver for {scheme}:// cannot be loaded: {error}.",
            hint="`pip install 'renku-store[s3]'` installs what S3 needs.",
        ) from error
    return factory


def _offered(scheme: str) -> EntryPoint | None:
    """Where an installed package offers a factory for a scheme."""
    return next(iter(import_module("importlib.metadata").entry_points(group=ENTRY_POINT_GROUP, name=scheme)), None)


def _open_offered(scheme: str, point: EntryPoint, root: str, options: Mapping[str, Any]) -> GuardedDriver:
    """The driver that a package offers, behind a probe: its word that it creates atomically is not enough."""
    try:
        factory: DriverFactory = point.load()
    except StoreError:
        raise
    except Exception as error:  # the code of another package
        raise StoreUnavailableError(
            f"The driver for {scheme}:// cannot be loaded: {type(error).__name__}: {error}",
            hint=f"It is offered by the entry point {point.value!r}.",
        ) from error
    driver = factory(root, options)
    guarding = import_module("renku_store.drivers.guarding")
    if isinstance(driver, guarding.GuardedDriver):
        return cast("GuardedDriver", driver)
    via = f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
    behind: GuardedDriver = guarding.guarded(driver, via)
    return behind
