"""What obstore's exceptions say of a reply: only their text tells status and code, or why none came."""

from __future__ import annotations

import re
from typing import Final

from obstore.exceptions import InvalidPathError

from renku_store.drivers.objects.replies import INVALID_KEY, NO_CREDENTIALS, Refusal

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_PASSING: Final = (
    ("Connection refused", "the connection was refused"),
    ("dns error", "there is no server of this name"),
    ("Connection reset", "the connection was reset"),
    ("IncompleteMessage", "the connection was closed before the reply came"),
    ("UnexpectedEof", "the reply broke off"),
    ("TimedOut", "no reply came in time"),
)
_LASTING: Final = (
    ("UnknownIssuer", "its certificate is signed by nobody trusted here"),
    ("CaUsedAsEndEntity", "its certificate is signed by nobody trusted here"),
    ("NotValidForName", "its certificate is for another name"),
    ("Expired", "its certificate has expired"),
    ("InvalidCertificate", "its certificate is not accepted"),
    ("InvalidContentType", "it does not speak TLS"),
    ("BadScheme", "plain HTTP is for endpoints that say http:// only"),
)
_NO_CREDENTIALS: Final = ("169.254.169.254", "CredentialProvider")
"""Where the machine's role is asked for, when nothing else says who one is."""


def refusal_of(error: Exception, server: str) -> Refusal:
    """What `server` answered to a request that ended so."""
    text = str(error)
    if isinstance(error, InvalidPathError):
        return Refusal(server, code=INVALID_KEY, lasting=True)
    if any(sign in text for sign in _NO_CREDENTIALS):
        # Before the status, which would be that of the machine's own service.
        return Refusal(server, code=NO_CREDENTIALS, lasting=True)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is not None or code is not None:
        said = (code[1] or code[2]) if code is not None else ""
        return Refusal(server, int(status[1]) if status is not None else 200, said)
    lasting = next((told for sign, told in _LASTING if sign in text), None)
    if lasting is not None:
        return Refusal(server, failure=lasting, lasting=True)
    return Refusal(server, failure=next((told for sign, told in _PASSING if sign in text), "the request failed"))
