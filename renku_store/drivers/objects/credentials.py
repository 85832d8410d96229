"""What the configuration files of AWS say, for clients that do not read them: credentials, region, endpoint.

They are read by botocore, which comes with s3fs. Where the environment has keys, nothing here is needed, or loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Final

from renku_store.drivers.objects.options import S3Place
from renku_store.errors import InvalidValueError, StoreUnavailableError

_FILES: Final = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
_ASK_AGAIN: Final = timedelta(minutes=10)
"""Credentials without an end are asked for again after this time: the file may have changed."""

CredentialProvider = Callable[[], dict[str, Any]]
"""Gives `access_key_id`, `secret_access_key`, `token` and `expires_at`, as obstore asks for them."""


def reads_files(place: S3Place, environment: Mapping[str, str]) -> bool:
    """Whether the files decide: a profile is named, or the environment has no keys and there is a file."""
    if place.profile is not None:
        return True
    if place.anonymous or environment.get("AWS_ACCESS_KEY_ID"):
        return False
    paths = (environment.get(name) or os.path.expanduser(usual) for name, usual in _FILES)
    return any(os.path.isfile(path) for path in paths)


def from_files(place: S3Place, environment: Mapping[str, str]) -> tuple[dict[str, str], CredentialProvider | None]:
    """Region and endpoint that the files name, as variables of the environment would, and who gives credentials.

    Raises `InvalidValueError` for a profile that is not there, `StoreUnavailableError` where botocore is missing.
    """
    if not reads_files(place, environment):
        return {}, None
    try:
        sessions, exceptions = import_module("botocore.session"), import_module("botocore.exceptions")
    except ImportError as error:
        raise StoreUnavailableError(
            "The configuration files of AWS are read by botocore, which is not installed.",
            hint="pip install 'renku-store[s3]', or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        ) from error
    session = sessions.Session(profile=place.profile)
    try:
        said = session.get_scoped_config()
        found = session.get_credentials()
    except exceptions.ProfileNotFound as error:
        named = place.profile or environment.get("AWS_PROFILE")
        raise InvalidValueError(
            f"There is no profile {named!r} in the configuration files of AWS.",
            hint="`aws configure list-profiles` names them.",
        ) from error
    except exceptions.BotoCoreError as error:
        raise StoreUnavailableError(
            f"The configuration of AWS cannot be used: {error}.", hint="`aws configure list` shows what it says."
        ) from error
    named_there = {"AWS_DEFAULT_REGION": said.get("region"), "AWS_ENDPOINT_URL": said.get("endpoint_url")}
    return {name: value for name, value in named_there.items() if value}, None if found is None else _provider(found)


def _provider(found: Any) -> CredentialProvider:
    def ask() -> dict[str, Any]:
        now = found.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + _ASK_AGAIN,
        }

    return ask
