"""File systems of s3fs: nothing is cached, and what is sent once is sent once."""

from __future__ import annotations

from typing import Any, Final

import s3fs
from aiobotocore.httpsession import AIOHTTPSession
from botocore.handlers import add_expect_header

from renku_store import bounds
from renku_store.drivers.objects.options import S3Place

_FileSystem: Final[Any] = s3fs.S3FileSystem  # without types, and what is guessed of them is wrong


class _SentOnce(AIOHTTPSession):
    """Sends no request again by itself.

    aiohttp sends what HTTP calls idempotent, every PUT, once more where a connection breaks off, and tells nobody. A
    write that had been carried out is refused then, for its own sake: its writer takes it for another's.
    """

    async def _get_session(self, proxy_url: str | None) -> Any:
        session: Any = await super()._get_session(proxy_url)
        session._retry_connection = False  # noqa: SLF001 (there is no other way: aiohttp's issue 10790)
        return session


def file_system(place: S3Place, attempts: int, read_seconds: float) -> Any:
    """A file system of our own, which caches nothing and leaves repeating to botocore.

    With one attempt nothing is repeated by anybody.
    """
    client: dict[str, Any] = {"region_name": place.region} if place.region else {}
    if not place.verify:
        client["verify"] = False
    elif place.ca:
        client["verify"] = place.ca
    files = _FileSystem(
        anon=place.anonymous,
        endpoint_url=place.endpoint,
        client_kwargs=client,
        config_kwargs={
            "connect_timeout": bounds.OBJECT_CONNECT_SECONDS,
            "read_timeout": read_seconds,
            "max_pool_connections": place.concurrency,
            "retries": {"mode": "standard", "total_max_attempts": attempts},
            "s3": {"addressing_style": "path" if place.path_style else "virtual"},
            **({"http_session_cls": _SentOnce} if attempts == 1 else {}),
        },
        use_listings_cache=False,
        skip_instance_cache=True,
        **({"profile": place.profile} if place.profile else {}),
    )
    files.retries = 1
    # botocore asks before each PUT whether it may send the body: a round trip more, and servers and proxies that do not
    # answer that question are waited for until the request has failed.
    files.s3.meta.events.unregister("before-call.s3", add_expect_header)
    return files
