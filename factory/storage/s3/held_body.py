"""A body that is kept back while something else happens."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BEFORE_SEND = "before-send.s3.PutObject"
"""botocore's event between the signing of a request and its sending."""


class HeldBody(io.BytesIO):
    """The bytes of one request; the first reading after its head was sent waits for `meanwhile`.

    botocore reads a body to sign it too, and to send it again after a lost reply: neither waits. The
    head asks the server to say that it goes on (`Expect: 100-continue`), which is waited for a second.
    """

    def __init__(self, data: bytes, meanwhile: Callable[[], None]) -> None:
        super().__init__(data)
        self._meanwhile: Callable[[], None] | None = meanwhile
        self._is_sent = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self._is_sent and self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return super().read(size)

    @contextmanager
    def sent_by(self, client: Any) -> Iterator[None]:
        """While this client sends it."""
        client.meta.events.register(BEFORE_SEND, self._sending)
        try:
            yield
        finally:
            client.meta.events.unregister(BEFORE_SEND, self._sending)

    def _sending(self, request: Any, **_: Any) -> None:
        # Other threads' requests pass here as well.
        self._is_sent |= request.body is self
