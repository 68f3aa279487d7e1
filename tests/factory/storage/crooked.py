"""An S3 server that answers as a test tells it to, or stands between a store and a real one."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Act = Callable[[BaseHTTPRequestHandler, bytes], None]
"""What is done with one request and its body."""


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, etag: str = "") -> None:
    handler.send_response(status)
    if etag:
        handler.send_header("ETag", etag)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def answer(status: int, code: str) -> Act:
    """An S3 error, whose message quotes what servers like to quote; without a code, no body."""

    def act(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        quoted = handler.headers.get("Authorization", "")
        body = f"<Error><Code>{code}</Code><Message>You sent {quoted}</Message></Error>"
        reply(handler, status, body.encode() if code else b"")

    act.__name__ = f"answer {status} {code}"
    return act


def page(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    """Not an S3 server at all."""
    reply(handler, 200, b"<html><body>Welcome!</body></html>")


def cut(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    """Half of an object."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 500)
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    """No reply."""
    handler.close_connection = True


def forward(endpoint: str) -> Act:
    """What the server behind says."""

    def act(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        reply(handler, *ask(endpoint, handler, body))

    return act


def cut_listings(endpoint: str, most: int = 3) -> Act:
    """What the server behind says, listings `most` names long, without a way to the rest of them."""

    def act(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if "list-type=2" in handler.path:
            asked = re.sub(r"&(start-after|max-keys)=[^&]*", "", handler.path)
            handler.path = f"{asked}&max-keys={most}"
        status, told, etag = ask(endpoint, handler, body)
        told = re.sub(rb"<NextContinuationToken>.*</NextContinuationToken>", b"", told)
        reply(handler, status, told, etag)

    return act


def forward_and_hang_up(endpoint: str) -> Act:
    """The server behind does as it is told; the reply is lost."""

    def act(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        status, *_ = ask(endpoint, handler, body)
        assert status in (200, 412)
        handler.close_connection = True

    return act


def ask(endpoint: str, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=20)
    headers = {name: value for name, value in handler.headers.items() if name != "Expect"}
    connection.request(handler.command, handler.path, body, headers)
    response = connection.getresponse()
    answered = response.status, response.read(), response.getheader("ETag", "")
    connection.close()
    return answered


@contextmanager
def crooked_server(*acts: Act) -> Iterator[str]:
    """The endpoint of a server that does one act for each request, and the last for the rest."""
    left = list(acts)
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with turn:
                act = left.pop(0) if len(left) > 1 else left[0]
            act(self, body)

        do_GET = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
