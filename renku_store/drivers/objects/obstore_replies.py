"""What obstore's exceptions say of a reply: only their text tells status and code, or why none came."""

from __future__ import annotations

import re
from typing import Final

from renku_store.drivers.objects.replies import Refusal

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
    ("169.254.169.254", "no credentials were found"),
    ("CredentialProvider", "no credentials were found"),
)


def refusal_of(error: Exception, server: str) -> Refusal:
    """What `server` answered to a request that ended so."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is not None or code is not None:
        said = (code[1] or code[2]) if code is not None else ""
        return Refusal(server, int(status[1]) if status is not None else 200, said)
    lasting = next((told for sign, told in _LASTING if sign in text), None)
    if lasting is not None:
        return Refusal(server, failure=lasting, lasting=True)
    return Refusal(server, failure=next((told for sign, told in _PASSING if sign in text), "the request failed"))
