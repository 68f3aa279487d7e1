"""moto's S3 server, as strong as it says: of several conditional writers one wins.

By itself it looks whether a key is free and then takes it, in threads: two writers who meet may both win.
"""

import threading
from functools import wraps
from typing import Any

from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

_LOCK = threading.Lock()


def emulator() -> ThreadedMotoServer:
    """One that is not started yet, on any free port of this machine."""
    put = S3Response.put_object
    if not hasattr(put, "__wrapped__"):

        @wraps(put)
        def put_alone(self: Any) -> Any:
            with _LOCK:
                return put(self)

        S3Response.put_object = put_alone  # type: ignore[method-assign]
    return ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
