"""What s3fs's exceptions and botocore's answers say: status and code of a reply, heads, and keys that were refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from renku_store.drivers.objects.client import ObjectHead
from renku_store.drivers.objects.replies import Refusal

MARK: Final = "renku-mark"
"""The user metadata that holds a writer's mark."""
NO_BUCKET: Final = frozenset({"NoSuchBucket"})
_STATUS: Final = {"AccessDenied": 403, "SlowDown": 503, "InternalError": 500}
"""What the status would be of a reply to one deletion: that to many is 200, whatever it tells of each."""


def answer_of(error: BaseException) -> tuple[int, str] | None:
    """Status and code of what the server answered; None where it did not answer."""
    found = error if isinstance(error, ClientError) else error.__cause__
    if not isinstance(found, ClientError):
        return None
    status = found.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return (status or 500), str(found.response.get("Error", {}).get("Code", ""))


def raise_if_no_bucket(error: OSError) -> None:
    """Raise it again, unless it says that an object is missing: a missing bucket is a failure, no answer."""
    answered = answer_of(error)
    if answered is None or answered[1] in NO_BUCKET:
        raise error


def refused_deletions(errors: Iterable[Mapping[str, str]], server: str) -> dict[str, Refusal]:
    """What the reply of a `server` to a deletion of many keys says of those that are still there."""
    return {
        refused.get("Key", ""): Refusal(server, _STATUS.get(code, 400), code)
        for refused in errors
        if (code := refused.get("Code", "")) != "NoSuchKey"
    }


def head_of(key: str, answer: dict[str, Any]) -> ObjectHead:
    """The object that a reply to a look or a read tells of."""
    whole = answer.get("ContentRange", "").rpartition("/")[2]
    size = int(whole) if whole.isdigit() else int(answer["ContentLength"])
    mark = answer.get("Metadata", {}).get(MARK)
    return ObjectHead(key, size, answer["LastModified"].timestamp(), tag_of(answer), mark)


def listed(found: dict[str, Any]) -> ObjectHead:
    """An object of a listing."""
    return ObjectHead(found["Key"], int(found["Size"]), found["LastModified"].timestamp(), tag_of(found))


def tag_of(answer: dict[str, Any]) -> str | None:
    """The entity tag that a reply tells."""
    tag: str | None = answer.get("ETag")
    return tag
