"""Whether a server compares the SHA-256 that goes with an upload: obstore is made to send one that is wrong."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from renku_store.drivers.objects.obstore_replies import refusal_of

_HEADER: Final = "x-amz-checksum-sha256"
_OF_NOTHING: Final = base64.b64encode(hashlib.sha256(b"").digest()).decode()
"""Wrong for the bytes, and right for the requests without any that begin and end an upload in parts."""
_MISMATCH: Final = frozenset({"BadDigest", "XAmzContentChecksumMismatch"})
"""What servers call it (AWS S3 and SeaweedFS; MinIO). The signature's own SHA-256 has another name."""
_OF_BYTES: Final = "performing PUT"
"""How obstore begins to tell of a refusal of the bytes, not of what begins or completes an upload in parts."""


def refuses_wrong_checksum(bucket: str, options: dict[str, Any], key: str, *, in_parts: bool) -> bool | None:
    """Send a few bytes to `key` with a checksum of other bytes; `options` are those of obstore's store.

    True where they are refused for that; False where they are taken, and lie there; None for any other answer.
    """
    others = {name: value for name, value in options.items() if name not in {"checksum_algorithm", "client_options"}}
    client: Any = {**options["client_options"], "default_headers": {_HEADER: _OF_NOTHING}}
    store = S3Store(bucket, retry_config={"max_retries": 0}, client_options=client, **others)
    try:
        obstore.put(store, key, b"trial", use_multipart=in_parts)
    except (BaseError, OSError, ValueError) as error:
        refused = refusal_of(error, bucket).code in _MISMATCH and _OF_BYTES in str(error)
        return True if refused else None
    return False
