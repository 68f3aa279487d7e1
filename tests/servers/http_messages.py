"""HTTP/1.1 messages as bytes: as much of them as a proxy must know to pass them on unchanged."""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

LONGEST_HEAD = 64 * 2**10


@dataclass
class Message:
    """A request or a reply, its body with the framing it came in (chunks, trailers)."""

    head: bytes
    body: bytes = b""

    @property
    def start(self) -> list[str]:
        """The words of the first line."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    @property
    def method(self) -> str:
        """Of a request."""
        return self.start[0]

    @property
    def path(self) -> str:
        """Of a request, without its query."""
        return self.start[1].partition("?")[0]

    @property
    def query(self) -> str:
        """Of a request."""
        return self.start[1].partition("?")[2]

    @property
    def status(self) -> int:
        """Of a reply."""
        return int(self.start[1])

    def header(self, name: str) -> str:
        """A header's value, empty where there is none."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.decode("latin-1").partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return ""

    def head_without(self, *names: str, close: bool = False) -> bytes:
        """The head without these headers; `close` asks for an end after the reply."""
        lines = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        kept = [
            line
            for line in lines
            if line.partition(b":")[0].strip().lower().decode("latin-1") not in names
        ]
        if close:
            kept.append(b"Connection: close")
        return b"\r\n".join(kept) + b"\r\n\r\n"


async def read_message(
    reader: asyncio.StreamReader,
    *,
    continue_to: asyncio.StreamWriter | None = None,
    replies_to: str = "",
) -> Message | None:
    """The next message, or None where the other side closed before one began.

    `continue_to` is asked for the body where the head expects that; `replies_to` is the method
    that a reply answers. Raises `asyncio.IncompleteReadError` where the message is cut.
    """
    while True:
        try:
            message = Message(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError as error:
            if error.partial.strip():
                raise
            return None
        if not (replies_to and message.status < 200):
            break
    if replies_to and (replies_to == "HEAD" or message.status in (204, 304)):
        return message
    if continue_to is not None and message.header("expect").lower() == "100-continue":
        continue_to.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await continue_to.drain()
    length = message.header("content-length")
    if "chunked" in message.header("transfer-encoding").lower():
        message.body = await _chunks(reader)
    elif length:
        message.body = await reader.readexactly(int(length))
    elif replies_to:
        # Neither a length nor chunks: the body ends with the connection.
        message.body = await reader.read()
        line = b"Content-Length: %d\r\n\r\n" % len(message.body)
        message.head = message.head.removesuffix(b"\r\n") + line
    return message


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body with its sizes and trailers."""
    parts: list[bytes] = []
    while True:
        size = await reader.readuntil(b"\r\n")
        parts.append(size)
        count = int(size.partition(b";")[0], 16)
        if count == 0:
            break
        parts.append(await reader.readexactly(count + 2))
    while parts[-1] != b"\r\n":
        parts.append(await reader.readuntil(b"\r\n"))
    return b"".join(parts)


def reset(writer: asyncio.StreamWriter) -> bool:
    """End a connection so that the other side sees it fail; False, as it lives no longer."""
    held = writer.get_extra_info("socket")
    if held is not None:
        with suppress(OSError):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False
