"""Opens object roots: from a URL and options to a driver that a probe guards.

A library that is not installed gives a sentence with the command that installs it; each is imported only when a root
needs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from renku_store import bounds
from renku_store.drivers.base import Guarantees
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.caching.place import cache_folder
from renku_store.drivers.guarding import GuardedDriver, guarded
from renku_store.drivers.objects.credentials import from_files
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.options import S3Place, cache_bytes, parse_s3
from renku_store.drivers.urls import scheme_of, without_secrets
from renku_store.errors import InvalidValueError, StoreUnavailableError

_SLUG_MAX_CHARACTERS: Final = 60
_SLUG: Final = re.compile(r"[^A-Za-z0-9._-]+")
_SERVERS: Final = ("account_name", "account_host", "account_url", "endpoint_url", "_endpoint", "host", "port")
"""Where file systems of fsspec keep what they were told of the server beside the URL, none of it secret."""
_CONNECTION: Final = re.compile(r"(?:AccountName|BlobEndpoint|EndpointSuffix)=[^;]*")
_PASSWORD: Final = re.compile(r"://[^/@]*:[^/@]*@")


def open_s3(url: str, options: Mapping[str, Any]) -> GuardedDriver:
    """An S3 root through the client that is the default."""
    return open_s3_obstore(url, options)


def open_s3_obstore(url: str, options: Mapping[str, Any]) -> GuardedDriver:
    """An S3 root through obstore."""
    place, credentials = _place(url, options)
    module = _needed("renku_store.drivers.objects.obstore_client", "obstore", "s3")
    return _s3_driver(place, module.ObstoreClient(place, credentials=credentials), "obstore")


def open_s3_fsspec(url: str, options: Mapping[str, Any]) -> GuardedDriver:
    """An S3 root through s3fs."""
    place, _ = _place(url, options)
    module = _needed("renku_store.drivers.objects.s3fs_client", "s3fs", "s3")
    return _s3_driver(place, module.S3fsClient(place), "s3fs")


def open_fsspec(url: str, options: Mapping[str, Any]) -> GuardedDriver:
    """A root on any file system of fsspec.

    Options are those of the file system, besides `cache`, `cache_bytes` and `concurrency`.

    Raises `InvalidValueError` for a password in the URL and for options that do not fit, `StoreUnavailableError` where
    the package of the file system is missing or it cannot be reached.
    """
    shown = without_secrets(url)
    if _PASSWORD.search(url):
        raise InvalidValueError(f"The URL {shown} holds a password.", hint="Pass it to open_store as an option.")
    own = {name: value for name, value in options.items() if name in {"cache", "cache_bytes", "concurrency"}}
    others = {name: value for name, value in options.items() if name not in own}
    module = _needed("renku_store.drivers.objects.fsspec_client", "fsspec", None)
    files, base = _file_system(url, shown, others)
    client = module.FsspecClient(files, base, shown)
    identity = _identity(files, shown)
    driver = ObjectDriver(
        client,
        url=shown,
        prefix="",
        workspace=workspace_of(identity, own.get("cache"), os.environ),
        server=identity.removeprefix(shown),
        concurrency=own.get("concurrency", bounds.OBJECT_CONCURRENCY),
        cache=_cache(own.get("cache"), cache_bytes(own, os.environ)),
        guarantees=Guarantees(
            atomic_create=client.exclusive, compare_and_swap=False, strong_listing=True, shared_index=False
        ),
    )
    return guarded(driver, _version_of(type(files).__module__.partition(".")[0]))


def workspace_of(identity: str, cache: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Path:
    """The folder of this machine for a root; not made.

    It is in `renku-store/roots` of `cache`, else of `$RENKU_STORE_CACHE`, `$XDG_CACHE_HOME` or `~/.cache`, and has a
    name that can be read and is the root's alone.
    """
    slug = _SLUG.sub("-", identity.partition("://")[2]).strip("-.")[:_SLUG_MAX_CHARACTERS]
    return cache_folder(cache, environment) / "roots" / f"{slug}-{blake3(identity.encode()).hexdigest()[:16]}"


def _cache(cache: str | os.PathLike[str] | None, max_bytes: int) -> ObjectCache | None:
    """What all roots of this machine keep of what was read: a blob's name is its content, wherever it was."""
    return ObjectCache(cache_folder(cache, os.environ) / "blobs", max_bytes) if max_bytes else None


def _place(url: str, options: Mapping[str, Any]) -> tuple[S3Place, Callable[[], dict[str, Any]] | None]:
    place = parse_s3(url, options, os.environ)
    if place.ca is not None and not os.path.isfile(place.ca):
        raise InvalidValueError(
            f"The file of certificates {place.ca} is not there.", hint="Correct ca, or leave it out."
        )
    named, credentials = from_files(place, os.environ)
    return parse_s3(url, options, {**named, **os.environ}), credentials


def _s3_driver(place: S3Place, client: Any, library: str) -> GuardedDriver:
    driver = ObjectDriver(
        client,
        url=place.url,
        prefix=place.prefix,
        workspace=workspace_of(place.identity, place.cache, os.environ),
        server=place.identity.removeprefix(place.url),
        concurrency=place.concurrency,
        cache=_cache(place.cache, place.cache_bytes),
    )
    return guarded(driver, _version_of(library), storage=replace(place, prefix="").identity)


def _needed(module: str, package: str, extra: str | None) -> Any:
    """A module of this project that needs a package."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("renku_store"):
            raise
        install = f"pip install 'renku-store[{extra}]'" if extra else f"pip install {package}"
        raise StoreUnavailableError(f"This root needs {package}, which is not installed.", hint=install) from error


def _file_system(url: str, shown: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of a URL, without caches, and the folder in it."""
    core = import_module("fsspec.core")
    try:
        files, base = core.url_to_fs(url, skip_instance_cache=True, **options)
    except ImportError as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise StoreUnavailableError(
            f"{scheme_of(url)}:// roots need a package that is not installed: {said}.",
            hint="pip install it; `renku-store doctor` then says whether movies are safe there.",
        ) from error
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidValueError(
            f"{shown} cannot be opened with these options: {error}.", hint="Leave out, or correct, what it names."
        ) from error
    except Exception as error:  # the code of another package, which may connect at once
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise StoreUnavailableError(f"Cannot open {shown}: {said}.", hint="Check the URL and the network.") from error
    files.dircache.use_listings_cache = False  # not as an option: some pass theirs on to what does not know this one
    return files, base


def _identity(files: Any, shown: str) -> str:
    """The URL, with a hash of the account and the server where these are no part of it: two may have one container."""
    said = [getattr(files, name, None) for name in _SERVERS]
    said += _CONNECTION.findall(str(getattr(files, "connection_string", None) or ""))
    told = "\n".join(str(value) for value in said if isinstance(value, str | int))
    return f"{shown}?{blake3(told.encode()).hexdigest()[:16]}" if told else shown


def _version_of(package: str) -> str:
    """A package and its version, such as `s3fs 2026.9.0`."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package
