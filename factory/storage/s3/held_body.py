"""A body that is kept back while something else happens."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BEFORE_SEND = "before-send.s3.PutObject"
"""botocore's event between the signing of a request and its sending."""


class HeldBody(io.BytesIO):
    """The bytes of one request; the first reading while it is sent waits for `meanwhile`.

    botocore also reads a body to sign it, which does not wait, and begins anew where a request failed. Its
    head asks the server for a word before the bytes (`Expect: 100-continue`), which is waited for a second.
    """

    def __init__(self, data: bytes, meanwhile: Callable[[], None]) -> None:
        super().__init__(data)
        self._meanwhile: Callable[[], None] | None = meanwhile
        self._thread = threading.get_ident()
        self._is_sent = False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        # Before each try, whose signing reads it again.
        self._is_sent = False
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        if self._is_sent and self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return super().read(size)

    @contextmanager
    def sent_by(self, client: Any) -> Iterator[None]:
        """While this client sends it, in the thread that made it."""
        client.meta.events.register(BEFORE_SEND, self._sending)
        try:
            yield
        finally:
            client.meta.events.unregister(BEFORE_SEND, self._sending)

    def _sending(self, **_: Any) -> None:
        # Other threads' requests pass here as well; this one's body may be wrapped.
        if threading.get_ident() == self._thread:
            self._is_sent = True
