"""moto's server with conditional writes that are atomic; run as a program, with the arguments of `moto_server`.

moto looks whether a condition holds and stores the object afterwards, in threads: of racing creators two may win, and
the probe rightly refuses it. Here writes go one after the other, as in a server that can be used.
"""

from __future__ import annotations

import threading
from typing import Any

from moto import server
from moto.s3.responses import S3Response

_writing = threading.Lock()
_put_object = S3Response.put_object


def _put_alone(self: S3Response) -> Any:
    with _writing:
        return _put_object(self)


if __name__ == "__main__":
    S3Response.put_object = _put_alone  # type: ignore[method-assign]
    server.main()
