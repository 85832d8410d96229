"""Where an S3 root is and how it is reached: from its URL, the options and the environment, for every client alike.

Pure: the environment is an argument. No credentials are taken, kept or shown: clients find them by the standard chain
(environment, profile, role), so that a URL can be written down anywhere.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from renku_store import bounds
from renku_store.errors import InvalidValueError

_FLAGS: Final = {"path_style", "verify", "anonymous"}
_TEXTS: Final = {"endpoint", "region", "ca", "profile"}
_HERE_ONLY: Final = {"cache", "cache_bytes", "concurrency"}
"""What says nothing of the root: options of `open_store`, not of the URL that machines share."""
_TRUTH: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_SECRETS: Final = re.compile(
    r"(access_?key|secret|token|password|passwd|credential|signature)|^(key|user|username)$", re.IGNORECASE
)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_HOST_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""A bucket that can be the first part of a host name under the server's own certificate (no dots)."""
_CREDENTIALS_HINT: Final = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials with profile=NAME."
)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A folder of a bucket. `prefix` has no slash at its ends and may be empty.

    None for `endpoint` means AWS itself, for `region` and `profile` whatever the standard chain finds (which reads
    AWS_PROFILE, too: other than a profile named here, that one leaves keys in the environment alone). `ca` is a file
    of certificates to trust instead of the usual ones. `cache` is the folder for what belongs to this machine (None:
    the user's), `cache_bytes` how much the blobs kept there may take (0: none are), `concurrency` how many requests may
    be under way at once, listings aside.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    path_style: bool = False
    verify: bool = True
    ca: str | None = None
    profile: str | None = None
    anonymous: bool = False
    cache: str | None = None
    cache_bytes: int = bounds.CACHE_MAX_BYTES
    concurrency: int = bounds.OBJECT_CONCURRENCY

    @property
    def url(self) -> str:
        """The root as people know it, such as `s3://bucket/videos`; the same whatever the client and the options."""
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"

    @property
    def identity(self) -> str:
        """The URL, with the server where that is not AWS: two servers may have buckets of one name."""
        return f"{self.url}?endpoint={self.endpoint}" if self.endpoint else self.url


def parse_s3(url: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> S3Place:
    """Read `s3://bucket/prefix?endpoint=...`; an option goes before one of the same name in the URL.

    What neither says comes from the environment as the tools of AWS read it. Raises `InvalidValueError` for an unknown
    option (with the nearest name), a value that does not fit, credentials, and a URL without bucket.
    """
    bucket, prefix, query = _split(url)
    said = _merged(query, options)
    endpoint = _endpoint(_text(said, "endpoint")) or _endpoint(
        _first(environment, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )
    place = S3Place(
        bucket=bucket,
        prefix=prefix,
        endpoint=endpoint,
        region=_text(said, "region") or _first(environment, "AWS_REGION", "AWS_DEFAULT_REGION"),
        path_style=_flag(said, "path_style", endpoint is not None or not _HOST_NAME.fullmatch(bucket)),
        verify=_flag(said, "verify", True),
        ca=_text(said, "ca") or _first(environment, "AWS_CA_BUNDLE"),
        profile=_text(said, "profile"),
        anonymous=_flag(said, "anonymous", False),
        cache=_text(said, "cache"),
        cache_bytes=cache_bytes(said, environment),
        concurrency=_concurrency(said),
    )
    _check_together(place, said)
    return place


def _split(url: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Bucket, prefix and query; nothing of the URL is shown in an error before it is known to hold no credentials."""
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in url):
        raise InvalidValueError("The S3 URL holds a control character.", hint="Such as s3://bucket/videos.")
    scheme, _, rest = url.partition("://")
    where, _, query = rest.partition("?")
    if "@" in where.partition("/")[0]:
        raise InvalidValueError("An S3 URL holds no credentials.", hint=_CREDENTIALS_HINT)
    bucket, _, prefix = where.partition("/")
    if not bucket:
        raise InvalidValueError(f"{scheme}:// names no bucket.", hint="Such as s3://bucket/videos.")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidValueError(
            f"{bucket!r} is no name of a bucket.",
            hint="Such as s3://bucket/videos; the server belongs in endpoint=.",
        )
    return bucket, _prefix(prefix), parse_qsl(query, keep_blank_values=True)


def _prefix(prefix: str) -> str:
    stripped = prefix.strip("/")
    parts = stripped.split("/") if stripped else []
    for part in parts:
        if part in {"", ".", ".."}:
            raise InvalidValueError(
                f"The prefix {prefix!r} has an empty or dotted part.", hint="Such as s3://bucket/videos."
            )
    return stripped


def _merged(query: list[tuple[str, str]], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of both; each is known, no credential, and stands in the URL once."""
    said: dict[str, Any] = {}
    for name, value in query:
        _check_name(name)
        if name in said:
            raise InvalidValueError(f"The URL gives the option {name} twice.", hint="Give it once.")
        said[name] = value
        if name in _HERE_ONLY:
            raise InvalidValueError(
                f"{name} is not a part of the URL: it belongs to this machine.",
                hint="Pass it to open_store; for the cache there is RENKU_STORE_CACHE, too.",
            )
    for name in options:
        _check_name(name)
    return said | dict(options)


def _check_name(name: str) -> None:
    known = _FLAGS | _TEXTS | _HERE_ONLY
    if name in known:
        return
    if _SECRETS.search(name):
        raise InvalidValueError(f"{name} is a credential, and no option of an S3 root.", hint=_CREDENTIALS_HINT)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    raise InvalidValueError(
        f"An S3 root has no option {name!r}.",
        hint=f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(known))}.",
    )


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is None:
        return None
    if name in {"ca", "cache"} and hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, str) or not value.strip():
        raise InvalidValueError(f"The option {name} is a text that is not empty.", hint="Leave it out instead.")
    return value


def _flag(said: Mapping[str, Any], name: str, default: bool) -> bool:
    value = said.get(name)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    found = _TRUTH.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise InvalidValueError(f"The option {name} is true or false, not {value!r}.", hint=f"Such as {name}=true.")
    return found


def _concurrency(said: Mapping[str, Any]) -> int:
    value = said.get("concurrency")
    if value is None:
        return bounds.OBJECT_CONCURRENCY
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidValueError(f"The option concurrency is a number from 1, not {value!r}.", hint="Such as 32.")
    return value


def cache_bytes(said: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    """How many bytes the read cache may take: the option of that name, else `RENKU_STORE_CACHE_BYTES`, else 10 GiB.

    Raises `InvalidValueError` for what is no number from 0.
    """
    value = said.get("cache_bytes")
    if value is None:
        text = environment.get("RENKU_STORE_CACHE_BYTES") or str(bounds.CACHE_MAX_BYTES)
        value = int(text) if text.isascii() and text.isdigit() else text
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidValueError(
            f"The size of the read cache is a number of bytes from 0, not {value!r}.",
            hint="Such as RENKU_STORE_CACHE_BYTES=10000000000; 0 keeps nothing.",
        )
    return value


def _endpoint(text: str | None) -> str | None:
    """The address of a server, without a slash at its end."""
    if text is None:
        return None
    hint = "Such as http://127.0.0.1:8333."
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InvalidValueError("The endpoint is no address of a server.", hint=hint) from error
    if parts.username is not None or parts.password is not None:
        raise InvalidValueError("An endpoint holds no credentials.", hint=_CREDENTIALS_HINT)
    if parts.query or parts.fragment:
        raise InvalidValueError("An endpoint has neither a query nor a fragment.", hint=hint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidValueError(f"The endpoint {text!r} is no address of a server.", hint=hint)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _check_together(place: S3Place, said: Mapping[str, Any]) -> None:
    if place.anonymous and said.get("profile") is not None:
        raise InvalidValueError("anonymous=true takes no credentials, so that a profile has no use.", hint="Drop one.")
    if not place.verify and said.get("ca") is not None:
        raise InvalidValueError("verify=false trusts every certificate, so that ca has no use.", hint="Drop one.")


def _first(environment: Mapping[str, str], *names: str) -> str | None:
    return next((value for name in names if (value := environment.get(name))), None)
