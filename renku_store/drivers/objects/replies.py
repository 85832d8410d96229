"""What a refusal of an object storage means, in one sentence, and what to do about it.

Nothing that a server says is passed on but its status and its code: bodies may repeat parts of what was signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import uniform
from typing import Final, Literal

from renku_store import bounds
from renku_store.errors import StoreUnavailableError

_CREDENTIALS_HINT: Final = (
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile, and that they belong to this server."
)
NO_CREDENTIALS: Final = "no credentials"
INVALID_KEY: Final = "invalid key"
_WITHOUT_ANSWER: Final = {
    NO_CREDENTIALS: (
        "no credentials were found",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile; anonymous=true goes without.",
    ),
    INVALID_KEY: (
        "the key of an object there has an empty or dotted part, which obstore does not take",
        "Remove what has such a key, or open the root as s3+fsspec://.",
    ),
}
"""What a library says itself, and no server."""
_CODES: Final = {
    "NoSuchBucket": ("there is no such bucket", "Check the bucket's name and the endpoint, or make the bucket."),
    "InvalidAccessKeyId": ("the server does not know these credentials", _CREDENTIALS_HINT),
    "SignatureDoesNotMatch": ("the server does not accept these credentials", _CREDENTIALS_HINT),
    "ExpiredToken": ("the credentials have expired", "Log in again, or renew them."),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "Set the clock, then try again."),
    "PermanentRedirect": ("the bucket is in another region", "Name its region: region=NAME, or AWS_REGION."),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "Name its region: region=NAME, or AWS_REGION."),
    "IllegalLocationConstraintException": ("the bucket is in another region", "Name its region: region=NAME."),
    "NotImplemented": ("the server cannot do what was asked of it", "Use a server that speaks more of S3."),
    "KeyTooLongError": ("the name is too long for the server", "Choose a shorter prefix."),
    "InvalidBucketName": ("the server takes this for no name of a bucket", "Check the bucket's name."),
    "QuotaExceeded": ("the quota of the bucket is used up", "Free some space and try again."),
    "XMinioStorageFull": ("the storage is full", "Free some space and try again."),
}
_SLOW: Final = frozenset({"SlowDown", "ServiceUnavailable", "Throttling", "TooManyRequests", "RequestLimitExceeded"})
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull"})
_PASSING_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})
_CHANGED_ON_THE_WAY: Final = frozenset(
    {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
)
_PASSING_CODES: Final = _SLOW | _CHANGED_ON_THE_WAY | {"RequestTimeout", "InternalError"}
_UNREACHABLE_HINT: Final = "Check the endpoint and the network, and that the server runs; then try again."


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server answered: the HTTP `status` (None: no answer came) and S3's `code`, which may be empty.

    `failure` says in a few words why no answer came, `lasting` that it will be the same the next time. `server` is the
    address that was asked.
    """

    server: str
    status: int | None = None
    code: str = ""
    failure: str = "no answer came"
    lasting: bool = False

    @property
    def uncertain(self) -> bool:
        """Whether a write may have been carried out nevertheless."""
        return self.passing or (self.status is not None and self.status >= 500)

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered the next time."""
        if self.status is None:
            return not self.lasting
        return self.status in _PASSING_STATUS or self.code in _PASSING_CODES

    def error(self, doing: str, url: str) -> StoreUnavailableError:
        """The named error for a refusal met while `doing` ("read", "write") the object at `url`."""
        reason, hint = self._told()
        return StoreUnavailableError(f"Cannot {doing} {url}: {reason}.", hint=hint, reason=self._reason())

    def _reason(self) -> Literal["busy", "full", "denied", "other"]:
        if self.code in _FULL:
            return "full"
        return "busy" if self._slow else "denied" if self.status in {401, 403} else "other"

    @property
    def _slow(self) -> bool:
        return self.code in _SLOW or self.status in {429, 503}

    def _told(self) -> tuple[str, str]:
        if self.code in _WITHOUT_ANSWER:
            return _WITHOUT_ANSWER[self.code]
        if self.status is None:
            return f"{self.server} cannot be reached ({self.failure})", _UNREACHABLE_HINT
        answer = " ".join(filter(None, (str(self.status), self.code)))
        if self.code in _CODES:
            reason, hint = _CODES[self.code]
            return f"{reason} ({self.server} answers {answer})", hint
        if self.code in _CHANGED_ON_THE_WAY:
            return f"what arrives at {self.server} is not what was sent ({answer})", (
                "Something between here and the storage changes bytes; nothing was written."
            )
        if self._slow:
            return f"{self.server} asks to slow down ({answer})", "Try again later, or lower the concurrency."
        if self.status in {401, 403}:
            return f"permission is denied ({self.server} answers {answer})", (
                f"{_CREDENTIALS_HINT} They must allow to read, write, list and delete below this prefix."
            )
        if self.status >= 500:
            return f"{self.server} fails ({answer})", "Look into the server's log, or try again later."
        return f"{self.server} answers {answer}", "Check the endpoint, the region and the bucket."


def pauses() -> Iterator[float]:
    """The seconds to wait after each attempt that came to nothing: growing, and never the same for two clients."""
    longest = bounds.OBJECT_FIRST_PAUSE_SECONDS
    for _ in range(bounds.OBJECT_ATTEMPTS - 1):
        yield uniform(longest / 2, longest)  # noqa: S311
        longest = min(2 * longest, bounds.OBJECT_PAUSE_MAX_SECONDS)


def unsettled(url: str, lost: BaseException | None) -> StoreUnavailableError:
    """The error for a conditional write that no attempt settled: what the last lost reply was due to, if one was."""
    cause = None if lost is None else lost.__cause__
    if isinstance(cause, StoreUnavailableError):
        return cause
    return StoreUnavailableError(
        f"Cannot write {url}: the storage refused every attempt, though nothing stands in the way.",
        hint="Somebody may be writing and removing it all the time; try again.",
        reason="busy",
    )
